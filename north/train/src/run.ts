/** A run between its steps: what it has, where it stands, and what it does beside learning: telling, saving, measuring, and going on
 *  after a step that was refused. Plain data and functions, for the loop and for loops made of it. */
import {
  type Checkpoint,
  type Checkpoints,
  changeTier,
  currentDevice,
  currentTuning,
  type Json,
  type Key,
  key,
  memoryFiles,
  openCheckpoints,
  tree,
} from "sinan";
import type { EvalEvent, SkipEvent, TrainEvent } from "./events.ts";
import { batchOf, faultOf, idsText, limitOf, mostInARow, nonFinite, windowOf } from "./faults.ts";
import { findNonFinite } from "./nonfinite.ts";
import { checkOptions, type Outcome, type TrainOptions } from "./options.ts";
import {
  checkFacts,
  copied,
  factsOf,
  type Progress,
  planChange,
  planOf,
  readRecord,
  restored,
  stateGroups,
} from "./saved.ts";
import { leastScale } from "./scaling.ts";
import { firstState, type Running, type StepInputs } from "./step.ts";
import type { Evaluation, Task, TrainState } from "./task.ts";

/** All that a run has and knows. Its functions change it. */
export interface Run<M, S extends TrainState<M>, B> {
  readonly task: Task<M, S, B>;
  readonly options: TrainOptions<M>;
  /** All that steps change. */
  state: Running<M, S>;
  /** Steps that are done. */
  done: number;
  /** What decides how it goes on, beside the state. */
  progress: Progress;
  readonly keys: Key;
  /** The last checkpoint, and that of the best evaluation. */
  checkpoint: string | undefined;
  best: string | undefined;
  evaluation: Evaluation | undefined;
  stopped: boolean;
  readonly began: number;
  readonly plan: Readonly<Record<string, Json>>;
  /** Where it saves; in memory, if only a rewind needs it. */
  readonly store: Checkpoints | undefined;
  savedAt: number;
  evaluatedAt: number;
  /** Refusals since the furthest step. */
  refused: { readonly at: number; readonly times: number };
}

/** A run at its beginning, or where its checkpoint left it.
 *
 *  @throws ArgumentError for an option outside its range; CheckpointError if the checkpoint is of another run */
export async function beginRun<M, S extends TrainState<M>, B>(
  task: Task<M, S, B>,
  options: TrainOptions<M>,
): Promise<Run<M, S, B>> {
  checkOptions(options);
  const { checkpoints, resume, accumulate = 1 } = options;
  const began = performance.now();
  // The numbers of a run are those of one tier: the fastest, which may take a build, from the first step on.
  const { reason } = await changeTier("auto", options.onBuild);
  if (reason !== undefined) (options.onWarning ?? console.warn)(reason);
  const plan = { ...planOf(await currentDevice(), currentTuning()), ...(accumulate === 1 ? {} : { accumulate }) };
  const rewinds = options.onNonFinite === "rewind" || options.onSpike?.action === "rewind";
  const store = checkpoints ?? (rewinds ? await openCheckpoints(memoryFiles(), "memory", { keep: 1 }) : undefined);
  const initial = firstState(task, options);
  const run: Run<M, S, B> = {
    task,
    options,
    // The steps take their state, and the caller keeps its model.
    state: resume ? initial : await copied(initial),
    done: 0,
    progress: { leftOut: [], losses: [], best: null, worse: 0 },
    keys: key(options.seed),
    checkpoint: undefined,
    best: undefined,
    evaluation: undefined,
    stopped: false,
    began,
    plan,
    store,
    savedAt: -1,
    evaluatedAt: -1,
    refused: { at: -1, times: 0 },
  };
  if (resume) goBackTo(run, resume);
  return run;
}

function goBackTo<M, S extends TrainState<M>, B>(run: Run<M, S, B>, checkpoint: Checkpoint): void {
  const { options, plan, store } = run;
  const record = readRecord(checkpoint);
  checkFacts(checkpoint.path, record.facts, factsOf(options));
  const change = planChange(record.plan, plan);
  if (change !== undefined) (options.onWarning ?? console.warn)(change);
  run.state = restored(checkpoint, run.state);
  run.done = record.step;
  run.progress = record.progress;
  run.checkpoint = checkpoint.path;
  run.savedAt = store === options.checkpoints ? record.step : -1;
}

/** Whether there is a step to take. */
export const goesOn = <M, S extends TrainState<M>, B>(run: Run<M, S, B>): boolean =>
  run.done < run.options.steps && !run.stopped && run.options.signal?.aborted !== true && !endsEarly(run);

const endsEarly = <M, S extends TrainState<M>, B>({ options, progress }: Run<M, S, B>): boolean =>
  options.earlyStop !== undefined && progress.worse >= options.earlyStop.patience;

/** The number of the batch that the next step learns from: those that were left out do not count. */
export const nextBatch = <M, S extends TrainState<M>, B>({ done, progress }: Run<M, S, B>): number =>
  batchOf(done, progress.leftOut);

/** The largest loss that the next step learns from. */
export function lossLimit<M, S extends TrainState<M>, B>({ options, progress }: Run<M, S, B>): number {
  const limit = limitOf(progress.losses, options.onSpike);
  return options.onSpike?.action === "warn" ? Number.POSITIVE_INFINITY : limit;
}

/** Whether something that is done each so many steps is to be done now. The end has its own. */
export const isDue = <M, S extends TrainState<M>, B>({ done, options }: Run<M, S, B>, every: number): boolean =>
  done % every === 0 && done < options.steps;

/** Counts a step that was taken; a loss that is out of proportion and was learned from all the same is warned of. */
export function taken<M, S extends TrainState<M>, B>(run: Run<M, S, B>, loss: number): TrainEvent | undefined {
  const { onSpike } = run.options;
  const limit = limitOf(run.progress.losses, onSpike);
  const losses = onSpike ? [...run.progress.losses, loss].slice(-windowOf(onSpike)) : [];
  run.progress = { ...run.progress, losses };
  run.done++;
  if (!(loss > limit)) return undefined;
  const message = `the loss ${loss.toPrecision(4)} is more than ${onSpike?.factor} times the median of the last steps`;
  return { event: "warning", step: run.done, message };
}

/** Tells an event: callbacks first, whose own events come after. */
export async function* tell<M, S extends TrainState<M>, B>(
  run: Run<M, S, B>,
  event: TrainEvent | undefined,
): AsyncGenerator<TrainEvent> {
  if (!event) return;
  const { train, ema } = run.state;
  const stop = (): void => void (run.stopped = true);
  const more: TrainEvent[] = [];
  for (const callback of run.options.callbacks ?? []) {
    const own = await callback(event, { step: run.done, model: train.model, ema, stop });
    if (own) more.push(own);
  }
  yield event;
  yield* more;
}

/** Saves what has changed since the last time. */
export async function* save<M, S extends TrainState<M>, B>(run: Run<M, S, B>): AsyncGenerator<TrainEvent> {
  if (!run.store || run.savedAt === run.done) return;
  const path = await saveTo(run, run.store);
  run.savedAt = run.done;
  if (run.store !== run.options.checkpoints) return;
  run.checkpoint = path;
  yield* tell(run, { event: "checkpoint", step: run.done, path });
}

async function saveTo<M, S extends TrainState<M>, B>(run: Run<M, S, B>, where: Checkpoints): Promise<string> {
  const { done: step, options, plan, progress } = run;
  const trainer = {
    step,
    facts: factsOf(options),
    plan,
    options: options.options ?? null,
    progress,
  } as unknown as Json;
  return where.save({
    step,
    tensors: await stateGroups(run.state),
    documents: { ...options.documents, trainer },
    blobs: options.blobs ?? {},
  });
}

/** Measures the model, or the mean of its weights if one is kept, and saves it where the best is kept if it is that. Where the run is
 *  stopped meanwhile nothing is measured, and the run that is resumed begins with it. */
export async function* evaluate<M, S extends TrainState<M>, B>(run: Run<M, S, B>): AsyncGenerator<TrainEvent> {
  const { task, options, done: step, state } = run;
  if (!task.evaluate || run.evaluatedAt === step) return;
  const { signal } = options;
  let evaluation: Evaluation;
  try {
    signal?.throwIfAborted();
    evaluation = await task.evaluate(state.ema ?? state.train.model, signal);
  } catch (error) {
    if (signal?.aborted !== true || error !== signal.reason) throw error;
    run.progress = { ...run.progress, owed: true };
    return;
  }
  run.evaluation = evaluation;
  run.evaluatedAt = step;
  const { best, worse, owed: _, ...others } = run.progress;
  const { loss } = evaluation;
  const isBetter = Number.isFinite(loss) && (best === null || loss < best - (options.earlyStop?.minDelta ?? 0));
  run.progress = { ...others, ...(isBetter ? { best: loss, worse: 0 } : { best, worse: worse + 1 }) };
  const event: EvalEvent = { event: "eval", step, ...evaluation };
  yield* tell(run, event);
  if (!isBetter || !options.best) return;
  run.best = await saveTo(run, options.best);
  yield* tell(run, { event: "checkpoint", step, path: run.best, best: true });
}

/** Why a step was refused; undefined for one that was taken. */
export async function refusal<M, S extends TrainState<M>, B>(
  { state }: Run<M, S, B>,
  loss: number,
  norm: number,
  limit: number,
): Promise<SkipEvent["reason"] | undefined> {
  const finite = Number.isFinite(loss) && Number.isFinite(norm);
  const scale = finite ? undefined : await state.scaling?.scale.item();
  return faultOf(loss, norm, limit, scale !== undefined && scale >= leastScale ? scale : undefined);
}

/** Goes on after a step that was refused, as the policies say.
 *
 *  @throws NonFiniteError where nothing goes on: the state before the step is saved */
export async function recover<M, S extends TrainState<M>, B>(
  run: Run<M, S, B>,
  reason: SkipEvent["reason"],
  { loss, norm, batch, inputs }: { loss: number; norm: number; batch: number; inputs: StepInputs<B> },
): Promise<SkipEvent> {
  const { task, options, done: step } = run;
  const ids = task.ids?.(batch);
  const seen = { event: "skip", step, batch, ...(ids ? { ids } : {}), reason, loss, norm } as const;
  if (reason === "overflow") {
    const scale = (await run.state.scaling?.scale.item()) ?? 1;
    const message = `step ${step + 1}: a gradient is beyond f16, and the step is repeated with a loss scale of ${scale}`;
    return { ...seen, action: "repeat", scale, message };
  }
  const { model } = run.state.train;
  const found =
    reason === "spike" ? undefined : await findNonFinite(task, model, inputs.batch, inputs.key, options.precision);
  const policy = reason === "spike" ? (options.onSpike?.action ?? "skip") : (options.onNonFinite ?? "stop");
  const times = run.refused.at >= step ? run.refused.times + 1 : 1;
  run.refused = { at: Math.max(run.refused.at, step), times };
  if (policy === "stop" || found?.kind === "parameter" || times > mostInARow) {
    for await (const _ of save(run));
    const { checkpoint } = run;
    const text = found?.text ?? `the loss is above the limit of ${inputs.limit}`;
    throw nonFinite({ step: step + 1, loss, norm, rate: inputs.rate, batch, ids, where: text, checkpoint });
  }
  const leftOut = [...run.progress.leftOut, batch];
  if (policy === "rewind") await rewind(run);
  run.progress = { ...run.progress, leftOut };
  const action = policy === "rewind" ? "rewind" : "skip";
  const on = policy === "rewind" ? `, and the run goes on from step ${run.done}` : "";
  const message = `step ${step + 1}: the loss is ${loss}${found ? `, ${found.text}` : ""}: batch ${batch}${idsText(ids)} is left out${on}`;
  return { ...seen, action, to: run.done, ...(found ? { path: found.path } : {}), message };
}

async function rewind<M, S extends TrainState<M>, B>(run: Run<M, S, B>): Promise<void> {
  const latest = await run.store?.latest();
  if (!latest) return; // saved before the first step, so only a directory that somebody emptied
  const { checkpoint: before, state: old } = run;
  goBackTo(run, latest);
  if (run.store !== run.options.checkpoints) run.checkpoint = before;
  run.savedAt = run.done;
  for (const { tensor } of tree.tensors(old)) tensor.dispose();
}

/** What came of a run, at its end. */
export function outcome<M, S extends TrainState<M>, B>(run: Run<M, S, B>): Outcome<M> {
  const { state, done, options, evaluation, checkpoint, best } = run;
  const stoppedEarly = done < options.steps && endsEarly(run);
  return {
    model: state.train.model,
    ema: state.ema,
    step: done,
    stopped: (done < options.steps && !stoppedEarly) || run.progress.owed === true,
    stoppedEarly,
    seconds: (performance.now() - run.began) / 1000,
    evaluation,
    checkpoint,
    best,
  };
}
