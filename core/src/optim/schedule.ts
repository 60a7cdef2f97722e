/** Learning rates as plain functions of the step, counted from 1. Give the rate of the step to `update`, as an argument of
 *  the jitted function: it is a number that may change without another trace. Each can begin with a warm-up: a straight line from 0 at
 *  step 0 to its first rate at `warmupSteps`. */
import { ArgumentError } from "../errors.ts";

/** The learning rate of a step. */
export type Schedule = (step: number) => number;

/** How a schedule begins. */
export interface WarmUp {
  /** Default 0. */
  readonly warmupSteps?: number;
}

/** From a warm-up to the end of a run. */
export interface Course extends WarmUp {
  /** The rate after the warm-up. */
  readonly peak: number;
  /** Of the whole run, warm-up and all. */
  readonly steps: number;
  /** The part of the peak that is left at the end. */
  readonly finalFraction?: number;
}

const check = (name: string, numbers: Readonly<Record<string, number>>): void => {
  for (const [k, v] of Object.entries(numbers))
    if (!Number.isFinite(v) || v < 0)
      throw new ArgumentError(`${name}: expected ${k} to be a number of at least 0, got ${v}`);
  const { warmupSteps = 0, steps = Number.POSITIVE_INFINITY } = numbers;
  if (warmupSteps > steps)
    throw new ArgumentError(`${name}: ${warmupSteps} warm-up steps are more than the ${steps} of the whole run`);
};

const warmed = (warmupSteps: number, peak: number, after: Schedule): Schedule => {
  return (step) => (step < warmupSteps ? (peak * Math.max(step, 0)) / warmupSteps : after(step));
};

/** How much of the way between two steps is gone, from 0 to 1. */
const part = (step: number, from: number, to: number): number =>
  to <= from ? Number(step > from) : Math.min(1, Math.max(0, (step - from) / (to - from)));

/** From 1 to 0 along half a cosine. */
const halfCosine = (x: number): number => 0.5 * (1 + Math.cos(Math.PI * x));

/** The same rate at every step.
 *  @throws ArgumentError
 *  @example optim.constant(3e-4, { warmupSteps: 100 })(50)   // 1.5e-4 */
export function constant(rate: number, { warmupSteps = 0 }: WarmUp = {}): Schedule {
  check("constant", { rate, warmupSteps });
  return warmed(warmupSteps, rate, () => rate);
}

/** On a straight line from `from`, at the end of the warm-up, to `to` at step `steps`, and there afterwards.
 *  @throws ArgumentError
 *  @example optim.linear({ from: 1, to: 0, steps: 100 })(25)   // 0.75 */
export function linear({
  from,
  to,
  steps,
  warmupSteps = 0,
}: WarmUp & { readonly from: number; readonly to: number; readonly steps: number }): Schedule {
  check("linear", { from, to, steps, warmupSteps });
  return warmed(warmupSteps, from, (step) => from + (to - from) * part(step, warmupSteps, steps));
}

/** From the peak half a cosine down to `finalFraction` of it (0.1) at `steps`, and there afterwards.
 *  @throws ArgumentError
 *  @see Loshchilov & Hutter 2016, arXiv:1608.03983, eq. 5
 *  @example const rate = optim.cosine({ peak: 3e-4, warmupSteps: 100, steps: 1000 }); rate(50)   // 1.5e-4 */
export function cosine({ peak, steps, warmupSteps = 0, finalFraction = 0.1 }: Course): Schedule {
  check("cosine", { peak, warmupSteps, steps, finalFraction });
  return warmed(
    warmupSteps,
    peak,
    (step) => peak * (finalFraction + (1 - finalFraction) * halfCosine(part(step, warmupSteps, steps))),
  );
}

/** Warm-up, stable, decay: the peak until the last `decaySteps`, in which it falls to `finalFraction` of it (0), on a straight line or
 *  as one minus a root. A run may be prolonged by another one from before its decay.
 *  @throws ArgumentError
 *  @see Hu et al. 2024, arXiv:2404.06395, section 4; Hägele et al. 2024, arXiv:2405.18392, for the root
 *  @example optim.wsd({ peak: 1, steps: 100, decaySteps: 20 })(90)   // 0.5 */
export function wsd({
  peak,
  steps,
  decaySteps,
  warmupSteps = 0,
  finalFraction = 0,
  decay = "linear",
}: Course & { readonly decaySteps: number; readonly decay?: "linear" | "sqrt" }): Schedule {
  check("wsd", { peak, warmupSteps, steps, decaySteps, finalFraction });
  if (warmupSteps + decaySteps > steps)
    throw new ArgumentError(
      `wsd: ${warmupSteps} steps of warm-up and ${decaySteps} of decay are more than the ${steps} of the whole run`,
    );
  return warmed(warmupSteps, peak, (step) => {
    const gone = part(step, steps - decaySteps, steps);
    return peak * (1 - (1 - finalFraction) * (decay === "sqrt" ? Math.sqrt(gone) : gone));
  });
}

/** One cycle: half a cosine up from `startFraction` (1/25) of the peak at step 1 to it at `warmupSteps` (three tenths of the run), and
 *  half a cosine down to `finalFraction` of it (4e-6) at `steps`.
 *  @throws ArgumentError
 *  @see Smith & Topin 2017, arXiv:1708.07120; the form is PyTorch's
 *  @example optim.oneCycle({ peak: 1, steps: 100 })(30)   // 1 */
export function oneCycle({
  peak,
  steps,
  warmupSteps = 0.3 * steps,
  startFraction = 1 / 25,
  finalFraction = 1 / 25 / 1e4,
}: Course & { readonly startFraction?: number }): Schedule {
  check("oneCycle", { peak, warmupSteps, steps, startFraction, finalFraction });
  const between = (low: number, x: number): number => peak * (low + (1 - low) * halfCosine(x));
  return (step) =>
    step < warmupSteps
      ? between(startFraction, 1 - part(step, 1, warmupSteps))
      : between(finalFraction, part(step, warmupSteps, steps));
}
