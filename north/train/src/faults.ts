/** Steps that were refused: why, and what is done about it. */
import { NonFiniteError } from "sinan";
import type { SkipEvent } from "./events.ts";
import type { SpikePolicy } from "./options.ts";

/** Refusals without a step in between after which nothing will help. */
export const mostInARow = 8;

/** The number of the batch that step n learns from, in data without those that were left out. */
export function batchOf(n: number, leftOut: readonly number[]): number {
  let batch = n;
  for (const out of [...leftOut].sort((a, b) => a - b)) if (out <= batch) batch++;
  return batch;
}

/** The largest loss that is no spike after the losses of some steps. */
export function limitOf(losses: readonly number[], policy: SpikePolicy | undefined): number {
  if (!policy || losses.length < windowOf(policy)) return Number.POSITIVE_INFINITY;
  const sorted = [...losses].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle) - 1] ?? 0)) / 2;
  return median > 0 ? policy.factor * median : Number.POSITIVE_INFINITY;
}

export const windowOf = ({ window = 32 }: SpikePolicy): number => window;

/** Why a step was refused; undefined for one that was taken.
 *  @param scale  the loss scale of f16, if it can still be lowered */
export function faultOf(
  loss: number,
  norm: number,
  limit: number,
  scale: number | undefined,
): SkipEvent["reason"] | undefined {
  if (!Number.isFinite(loss)) return "nonFinite";
  if (!Number.isFinite(norm)) return scale === undefined ? "nonFinite" : "overflow";
  return loss > limit ? "spike" : undefined;
}

/** What is known of a step that was refused. */
export interface Fault {
  /** The step that it would have been: 1 is the first. */
  readonly step: number;
  readonly loss: number;
  readonly norm: number;
  readonly rate: number;
  readonly batch: number;
  readonly ids: readonly (string | number)[] | undefined;
  /** The first tensor that is not finite, in words. */
  readonly where: string;
  readonly checkpoint: string | undefined;
}

/** The end of a run at a step that cannot be taken. */
export function nonFinite({ step, loss, norm, rate, batch, ids, where, checkpoint }: Fault): NonFiniteError {
  const saved = checkpoint === undefined ? "The state before it is kept." : `The state before it is in ${checkpoint}.`;
  return new NonFiniteError(
    `train: step ${step}: the loss is ${loss}, the gradient's norm ${norm}, and the update was not made: ${where}; batch ${batch}${idsText(ids)}`,
    {
      hint: `${saved} Try a smaller learning rate than ${rate} or a longer warm-up, look at the data of this batch, or leave such batches out with onNonFinite: "skip".`,
    },
  );
}

/** What is in a batch, behind its number: ` (3, 17, 5)`. */
export const idsText = (ids: readonly (string | number)[] | undefined): string =>
  ids && ids.length > 0 ? ` (${ids.slice(0, 8).join(", ")}${ids.length > 8 ? " …" : ""})` : "";
