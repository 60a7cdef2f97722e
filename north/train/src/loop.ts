/** The training loop. It is short on purpose: whoever needs another one copies this function and changes it; what it is made of is
 *  exported too. */
import { hostTurn, memory, random } from "sinan";
import type { StepEvent, TrainEvent } from "./events.ts";
import type { Outcome, TrainOptions } from "./options.ts";
import {
  beginRun,
  evaluate,
  goesOn,
  isDue,
  lossLimit,
  nextBatch,
  outcome,
  recover,
  refusal,
  save,
  taken,
  tell,
} from "./run.ts";
import { trainStep } from "./step.ts";
import type { Task, TrainState } from "./task.ts";

/** Trains, telling of each step, evaluation and checkpoint. Losses depend on the task, the options and the device's numeric
 *  plan alone: a run that was stopped anywhere and resumed gives those of a run that never stopped, bit for bit.
 *
 *  @returns what came of it, as the generator's return value
 *  @throws NonFiniteError if the loss or the gradient is NaN or infinite, unless such batches are left out; that step's update is not
 *          made, and the state before it is saved. CheckpointError if the checkpoint to resume is of another run. FileError if saving fails
 *  @example for await (const e of train(task, { steps: 100, seed: 0 })) if (e.event === "step") console.log(e.loss); */
export async function* train<M, S extends TrainState<M>, B>(
  task: Task<M, S, B>,
  options: TrainOptions<M>,
): AsyncGenerator<TrainEvent, Outcome<M>> {
  const { steps, evaluateEvery = steps, checkpointEvery = steps } = options;
  const run = await beginRun(task, options);
  const step = trainStep(task, options);

  // A directory that cannot be written is better known now than after an hour.
  yield* save(run);
  if (run.progress.owed) yield* evaluate(run);
  while (goesOn(run)) {
    const start = performance.now();
    const number = nextBatch(run);
    const batch = await task.batch(number);
    const inputs = { batch, rate: task.rate(run.done), key: random.fold(run.keys, run.done), limit: lossLimit(run) };
    const result = step(run.state, inputs);
    run.state = result.next;
    const [loss, norm] = await Promise.all([result.loss.item(), result.norm.item()]);
    result.loss.dispose();
    result.norm.dispose();

    const reason = await refusal(run, loss, norm, inputs.limit);
    if (reason) {
      yield* tell(run, await recover(run, reason, { loss, norm, batch: number, inputs }));
      continue;
    }
    const warning = taken(run, loss);
    await hostTurn(); // signals wait for one
    const seconds = Math.max(performance.now() - start, clockMs) / 1000;
    const tokensPerSecond = task.tokensPerStep / seconds;
    const figures = { loss, norm, rate: inputs.rate, tokensPerSecond, seconds, peakBytes: memory().peak };
    yield* tell(run, { event: "step", step: run.done, ...figures } satisfies StepEvent);
    yield* tell(run, warning);
    if (isDue(run, evaluateEvery)) yield* evaluate(run);
    if (isDue(run, checkpointEvery)) yield* save(run);
  }
  yield* save(run);
  if (run.done === steps) yield* evaluate(run);
  return outcome(run);
}

/** By how much the clock of a page goes on at a time, at least where it is not isolated: a step may take none of it. */
const clockMs = 0.1;
