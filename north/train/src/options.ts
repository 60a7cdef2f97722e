/** What a run can be told, beside its task, and what comes of it. */
import { ArgumentError, type Building, type Checkpoint, type Checkpoints, type Json } from "sinan";
import type { TrainEvent } from "./events.ts";
import type { Precision } from "./scaling.ts";
import type { StepOptions } from "./step.ts";
import type { Evaluation, Facts } from "./task.ts";

/** What becomes of a batch that a step cannot learn from. Left out, the run is as if the data had never had it. */
export type Policy = "stop" | "skip" | "rewind";

/** When a loss is out of all proportion. */
export interface SpikePolicy {
  /** A loss above so many times the running median is a spike. */
  readonly factor: number;
  /** Steps that the median is taken over, and before which there are no spikes. Default 32. */
  readonly window?: number;
  /** `skip` leaves the batch out, `rewind` goes back to the last checkpoint and leaves it out, `warn` learns from it all the same. */
  readonly action: "skip" | "rewind" | "warn";
}

/** When evaluations end a run. */
export interface EarlyStop {
  /** Evaluations in a row that may pass without a better one. */
  readonly patience: number;
  /** How much lower a loss must be to be better. Default 0. */
  readonly minDelta?: number;
}

/** The run between two steps, for a callback. */
export interface RunView<M> {
  /** Steps that are done. */
  readonly step: number;
  /** The weights now. The next step takes their memory: copy what is to be kept. */
  readonly model: M;
  /** The running mean of the weights, if one is kept. */
  readonly ema: M | null;
  /** Ends the run after this step, saved. */
  readonly stop: () => void;
}

/** Called with each event before it is told; the run waits for it. An event that it returns is told after. */
export type Callback<M> = (
  event: TrainEvent,
  run: RunView<M>,
) => TrainEvent | undefined | void | Promise<TrainEvent | undefined | void>;

/** How a task is learned: how long, what is saved, and what is done when something goes wrong. */
export interface TrainOptions<M = unknown> extends StepOptions {
  /** Length of the whole run, also of one that is resumed. */
  readonly steps: number;
  /** Where dropout's keys come from: that of step n is `fold(key(seed), n)`. */
  readonly seed: number;
  /** Evaluate after each so many steps, and at the end. Default: at the end only. */
  readonly evaluateEvery?: number;
  /** Where to save: before the first step, after each `checkpointEvery` steps, when stopped and at the end. */
  readonly checkpoints?: Checkpoints | undefined;
  /** Where to save what has the lowest loss of all evaluations so far. */
  readonly best?: Checkpoints | undefined;
  /** Default: only at the end. */
  readonly checkpointEvery?: number;
  /** Continue from here. */
  readonly resume?: Checkpoint | undefined;
  /** What to do where loss or gradient is NaN or infinite. Default: stop. */
  readonly onNonFinite?: Policy | undefined;
  /** Default: no loss is too large. */
  readonly onSpike?: SpikePolicy | undefined;
  /** Default: all the steps are taken. */
  readonly earlyStop?: EarlyStop | undefined;
  readonly callbacks?: readonly Callback<M>[] | undefined;
  /** Aborted, the loop finishes its step, saves and returns. */
  readonly signal?: AbortSignal | undefined;
  /** Must be equal when the run is resumed; `seed`, `steps`, `precision` and `ema` are added. */
  readonly facts?: Facts;
  /** Kept in trainer.json, for the caller. */
  readonly options?: Json;
  /** Further files of each checkpoint: `config.json`, `tokenizer.json`. */
  readonly documents?: Readonly<Record<string, Json>>;
  readonly blobs?: Readonly<Record<string, string>>;
  /** Told what does not stop the run but should be known. Default: `console.warn`. */
  readonly onWarning?: (message: string) => void;
  /** Told how far kernels are that the device builds with the system's compiler. */
  readonly onBuild?: (building: Building) => void;
}

/** What came of a run. */
export interface Outcome<M> {
  readonly model: M;
  /** The running mean of the weights, if one was kept. */
  readonly ema: M | null;
  /** Steps that are done: fewer than asked for if the run was stopped. */
  readonly step: number;
  /** By the signal or a callback, before its end. */
  readonly stopped: boolean;
  /** Because evaluations no longer got better. */
  readonly stoppedEarly: boolean;
  /** Of this call, compiling and evaluating included. */
  readonly seconds: number;
  /** The last one, after the last step. */
  readonly evaluation: Evaluation | undefined;
  /** The last one. */
  readonly checkpoint: string | undefined;
  /** That of the best evaluation, where it is kept. */
  readonly best: string | undefined;
}

const precisions: readonly Precision[] = ["f32", "bf16", "f16"];

/** @throws ArgumentError naming the option, what it may be and what came */
export function checkOptions(options: TrainOptions<never>): void {
  const { steps, evaluateEvery, checkpointEvery, accumulate, earlyStop, onSpike, ema, precision } = options;
  const counts = { steps, evaluateEvery, checkpointEvery, accumulate };
  for (const [name, count] of Object.entries({ ...counts, patience: earlyStop?.patience, window: onSpike?.window })) {
    if (count !== undefined && !(Number.isSafeInteger(count) && count >= 1))
      throw new ArgumentError(`train: ${name} must be a whole number of at least 1, got ${count}`);
  }
  if (ema !== undefined && !(ema >= 0 && ema < 1))
    throw new ArgumentError(`train: ema must be a number of at least 0 and below 1, got ${ema}`);
  if (onSpike && !(onSpike.factor > 1))
    throw new ArgumentError(`train: onSpike.factor must be a number above 1, got ${onSpike.factor}`);
  if (precision !== undefined && !precisions.includes(precision))
    throw new ArgumentError(`train: precision must be one of ${precisions.join(", ")}, got ${precision}`);
  const { onNonFinite = "stop" } = options;
  if (!["stop", "skip", "rewind"].includes(onNonFinite))
    throw new ArgumentError(`train: onNonFinite must be stop, skip or rewind, got ${onNonFinite}`);
}
