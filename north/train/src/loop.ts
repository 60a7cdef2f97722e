/** The training loop. It is short on purpose: whoever needs another one copies this function and changes it. */
import {
  ArgumentError,
  type Checkpoint,
  type Checkpoints,
  currentDevice,
  hostTurn,
  type Json,
  key,
  memory,
  NonFiniteError,
  random,
} from "sinan";
import { checkFacts, copied, planChange, planOf, readRecord, restored, storedState } from "./saved.ts";
import { findNonFinite, trainStep } from "./step.ts";
import type { TrainEvent } from "./events.ts";
import type { Evaluation, Facts, Task, TrainState } from "./task.ts";

/** How long a run is, how it is measured and where it is saved. */
export interface TrainOptions {
  /** Length of the whole run, also of one that is resumed. */
  readonly steps: number;
  /** Where dropout's keys come from: that of step n is `fold(key(seed), n)`. */
  readonly seed: number;
  /** Largest global norm of a gradient. Default 1. */
  readonly clipNorm?: number;
  /** Evaluate after each so many steps, and at the end. Default: at the end only. */
  readonly evaluateEvery?: number;
  /** Where to save: before the first step, after each `checkpointEvery` steps, when stopped and at the end. */
  readonly checkpoints?: Checkpoints | undefined;
  /** Default: only at the end. */
  readonly checkpointEvery?: number;
  /** Continue from here. */
  readonly resume?: Checkpoint | undefined;
  /** Aborted, the loop finishes its step, saves and returns. */
  readonly signal?: AbortSignal | undefined;
  /** Must be equal when the run is resumed; `seed` and `steps` are added. */
  readonly facts?: Facts;
  /** Kept in trainer.json, for the caller. */
  readonly options?: Json;
  /** Further files of each checkpoint: `config.json`, `tokenizer.json`. */
  readonly documents?: Readonly<Record<string, Json>>;
  readonly blobs?: Readonly<Record<string, string>>;
  /** Told what does not stop the run but should be known. Default: `console.warn`. */
  readonly onWarning?: (message: string) => void;
}

/** What came of a run. */
export interface Outcome<M> {
  readonly model: M;
  /** Steps that are done: fewer than asked for if the run was stopped. */
  readonly step: number;
  readonly stopped: boolean;
  /** Of this call, compiling and evaluating included. */
  readonly seconds: number;
  /** The last one, after the last step. */
  readonly evaluation: Evaluation | undefined;
  /** The last one. */
  readonly checkpoint: string | undefined;
}

/** Trains, telling of each step, evaluation and checkpoint. Losses depend on the task, the options and the device's numeric
 *  plan alone: a run that was stopped anywhere and resumed gives those of a run that never stopped, bit for bit.
 *
 *  @returns what came of it, as the generator's return value
 *  @throws NonFiniteError if the loss or the gradient is NaN or infinite; that step's update is not made, and the state before it is
 *          saved. CheckpointError if the checkpoint to resume is of another run. FileError if saving fails
 *  @example for await (const e of train(task, { steps: 100, seed: 0 })) if (e.event === "step") console.log(e.loss); */
export async function* train<M, S extends TrainState<M>, B>(
  task: Task<M, S, B>,
  options: TrainOptions,
): AsyncGenerator<TrainEvent, Outcome<M>> {
  const {
    steps,
    seed,
    clipNorm = 1,
    evaluateEvery = steps,
    checkpointEvery = steps,
    checkpoints,
    resume,
    signal,
  } = options;
  checkCounts({ steps, evaluateEvery, checkpointEvery });
  const begin = performance.now();
  const step = trainStep(task, clipNorm);
  const keys = key(seed);
  const facts = { ...options.facts, seed, steps };
  const plan = planOf(await currentDevice());

  const initial = task.optimizer.init(task.model);
  let state: S;
  let done = 0;
  let checkpoint: string | undefined;
  let savedAt = -1;
  if (resume) {
    const record = readRecord(resume);
    checkFacts(resume.path, record.facts, facts);
    const change = planChange(record.plan, plan);
    if (change !== undefined) (options.onWarning ?? console.warn)(change);
    state = restored(resume, initial);
    done = savedAt = record.step;
    checkpoint = resume.path;
  } else state = await copied(initial); // the steps take their state, and the caller keeps its model

  async function* save(): AsyncGenerator<TrainEvent> {
    if (!checkpoints || savedAt === done) return;
    const trainer = { step: done, facts, plan, options: options.options ?? null };
    checkpoint = await checkpoints.save({
      step: done,
      tensors: await storedState(state),
      documents: { ...options.documents, trainer },
      blobs: options.blobs ?? {},
    });
    savedAt = done;
    yield { event: "checkpoint", step: done, path: checkpoint };
  }

  // A directory that cannot be written is better known now than after an hour.
  yield* save();
  const goesOn = (): boolean => done < steps && signal?.aborted !== true;
  while (goesOn()) {
    const start = performance.now();
    const batch = await task.batch(done);
    const rate = task.rate(done);
    const stepKey = random.fold(keys, done);
    const result = step(state, batch, rate, stepKey);
    state = result.state;
    const [loss, norm] = await Promise.all([result.loss.item(), result.norm.item()]);
    if (!Number.isFinite(loss) || !Number.isFinite(norm)) {
      for await (const _ of save());
      throw nonFinite(done + 1, loss, norm, rate, await findNonFinite(task, state.model, batch, stepKey), checkpoint);
    }
    result.loss.dispose();
    result.norm.dispose();
    done++;
    await hostTurn(); // signals wait for one
    const seconds = Math.max(performance.now() - start, clockMs) / 1000;
    const tokensPerSecond = task.tokensPerStep / seconds;
    yield { event: "step", step: done, loss, norm, rate, tokensPerSecond, seconds, peakBytes: memory().peak };
    if (task.evaluate && done < steps && done % evaluateEvery === 0)
      yield { event: "eval", step: done, ...(await task.evaluate(state.model)) };
    if (done % checkpointEvery === 0 && done < steps) yield* save();
  }
  yield* save();
  let evaluation: Evaluation | undefined;
  if (task.evaluate && done === steps) {
    evaluation = await task.evaluate(state.model);
    yield { event: "eval", step: done, ...evaluation };
  }
  const seconds = (performance.now() - begin) / 1000;
  return { model: state.model, step: done, stopped: done < steps, seconds, evaluation, checkpoint };
}

/** By how much the clock of a page goes on at a time, at least where it is not isolated: a step may take none of it. */
const clockMs = 0.1;

function checkCounts(counts: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(counts)) {
    if (!Number.isSafeInteger(count) || count < 1) {
      throw new ArgumentError(`train: ${name} must be a whole number of at least 1, got ${count}`);
    }
  }
}

function nonFinite(
  step: number,
  loss: number,
  norm: number,
  rate: number,
  where: string,
  checkpoint: string | undefined,
): NonFiniteError {
  const saved = checkpoint === undefined ? "The state before it is kept." : `The state before it is in ${checkpoint}.`;
  return new NonFiniteError(
    `train: step ${step}: the loss is ${loss}, the gradient's norm ${norm}, and the update was not made: ${where}`,
    {
      hint: `${saved} Try a smaller learning rate than ${rate} or a longer warm-up, and look at the data of this step.`,
    },
  );
}
