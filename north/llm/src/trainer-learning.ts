/** How a Trainer learns: optimizer and schedule by name or in full, precision, micro-batches, what is done about bad batches, when it
 *  stops and what it keeps. */
import { ArgumentError, type Json, optim } from "sinan";
import type { EarlyStop, Optimizer, Policy, Precision, SpikePolicy, TrainState } from "@sinan/train";
import type { Llama } from "./model/llama.ts";

type Own = "learningRate" | "weightDecay" | "decay";

/** An optimizer by its name, with what it takes beside the Trainer's `learningRate` and `weightDecay`. */
export type OptimizerOption =
  | "adamW"
  | "sgd"
  | ({ readonly name: "adamW" } & Omit<optim.AdamWOptions, Own>)
  | ({ readonly name: "sgd" } & Omit<optim.SgdOptions, Own>);

/** A schedule by its name, with what it takes beside the Trainer's `learningRate`, `warmupSteps` and the length of the run; or a function
 *  of the step, counted from 1. */
export type ScheduleOption =
  | "constant"
  | "linear"
  | "cosine"
  | "wsd"
  | "oneCycle"
  | { readonly name: "constant" }
  | { readonly name: "linear"; readonly finalFraction?: number }
  | { readonly name: "cosine"; readonly finalFraction?: number }
  | {
      readonly name: "wsd";
      readonly decaySteps?: number;
      readonly finalFraction?: number;
      readonly decay?: "linear" | "sqrt";
    }
  | { readonly name: "oneCycle"; readonly startFraction?: number; readonly finalFraction?: number }
  | optim.Schedule;

/** Checkpoints that are kept. */
export interface Keep {
  /** Of the newest. Default 2. */
  readonly last?: number;
  /** Of those with the lowest loss of all evaluations so far, in `best` of the run's directory. Default 1 with `earlyStop`, else 0. */
  readonly best?: number;
}

/** How a Trainer learns, stops and keeps; each has a default. */
export interface LearningOptions {
  /** Default `"adamW"`, with betas of 0.9 and 0.98. */
  readonly optimizer?: OptimizerOption;
  /** Default `"cosine"`, to a tenth of the peak. */
  readonly schedule?: ScheduleOption;
  /** Micro-batches that each batch is cut into: the same steps with the memory of one part. Default 1. */
  readonly accumulate?: number;
  /** Of the forward and backward pass; weights stay f32. f16 has a loss scale. Default `"f32"`. */
  readonly precision?: Precision;
  /** Keep a running mean of the weights of which so much stays in each step, such as 0.999: it is evaluated, saved, and the `ema` of the
   *  result. */
  readonly ema?: number;
  /** End the run when so many evaluations in a row are not better. */
  readonly earlyStop?: EarlyStop;
  readonly keep?: Keep;
  /** What becomes of a batch whose loss or gradient is NaN or infinite: the run stops before the update, skips the batch, or goes back to the
   *  last checkpoint and leaves the batch out. Default `"stop"`. */
  readonly onNonFinite?: Policy;
  /** The same for losses far above the last ones. Default: no loss is too large. */
  readonly onSpike?: SpikePolicy;
}

/** The options that are no numbers: a checkpoint has them as they are. */
export const learningNames = [
  "optimizer",
  "schedule",
  "precision",
  "earlyStop",
  "keep",
  "onNonFinite",
  "onSpike",
] as const satisfies readonly (keyof LearningOptions)[];

export interface Rates {
  readonly learningRate: number;
  readonly warmupSteps: number;
  readonly weightDecay: number;
  readonly steps: number;
}

/** @throws ArgumentError for a name that there is not, or a number outside its range */
export function optimizerOf(
  option: OptimizerOption = "adamW",
  { weightDecay }: Pick<Rates, "weightDecay">,
): Optimizer<Llama, TrainState<Llama>> {
  const chosen = typeof option === "string" ? { name: option } : option;
  switch (chosen.name) {
    case "adamW":
      // The second mean is shorter than usual, as in Vaswani et al. 2017, §5.3: runs are short.
      return optim.adamW({ betas: [0.9, 0.98], ...chosen, weightDecay });
    case "sgd":
      return optim.sgd({ ...chosen, weightDecay });
    default:
      throw unknown("optimizer", chosen satisfies never, ["adamW", "sgd"]);
  }
}

/** @throws ArgumentError for a name that there is not, or a number outside its range */
export function scheduleOf(
  option: ScheduleOption = "cosine",
  { learningRate: peak, warmupSteps, steps }: Omit<Rates, "weightDecay">,
): optim.Schedule {
  if (typeof option === "function") return option;
  const chosen: Exclude<ScheduleOption, string | optim.Schedule> =
    typeof option === "string" ? { name: option } : option;
  switch (chosen.name) {
    case "constant":
      return optim.constant(peak, { warmupSteps });
    case "linear":
      return optim.linear({ from: peak, to: peak * (chosen.finalFraction ?? 0), steps, warmupSteps });
    case "cosine":
      return optim.cosine({ peak, steps, warmupSteps, ...chosen });
    case "wsd":
      return optim.wsd({ peak, steps, warmupSteps, decaySteps: Math.floor((steps - warmupSteps) / 5), ...chosen });
    case "oneCycle":
      return optim.oneCycle({ peak, steps, warmupSteps, ...chosen });
    default:
      throw unknown("schedule", chosen satisfies never, ["constant", "linear", "cosine", "wsd", "oneCycle"]);
  }
}

const unknown = (what: string, got: unknown, known: readonly string[]): ArgumentError =>
  new ArgumentError(`Trainer: ${what}: expected one of ${known.join(", ")}, got ${JSON.stringify(got) ?? typeof got}`);

/** @throws ArgumentError for what is not such a number */
export function checkKeep({ last, best }: Keep): void {
  for (const [name, value, least] of [
    ["last", last, 1],
    ["best", best, 0],
  ] as const)
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= least))
      throw new ArgumentError(`Trainer: keep.${name}: expected a whole number of at least ${least}, got ${value}`);
}

/** An option as JSON has it; null where it has a function or a pattern in it, which cannot be told again from a file. */
export function recorded(option: unknown): Json {
  if (option === null || typeof option === "string" || typeof option === "boolean") return option;
  if (typeof option === "number") return Number.isFinite(option) ? option : null;
  if (Array.isArray(option)) {
    const items = option.map(recorded);
    return items.includes(null) ? null : items;
  }
  if (typeof option !== "object" || Object.getPrototypeOf(option) !== Object.prototype) return null;
  const entries = Object.entries(option).filter(([, value]) => value !== undefined);
  const made = entries.map(([key, value]): [string, Json] => [key, recorded(value)]);
  return made.some(([, value]) => value === null) ? null : Object.fromEntries(made);
}
