/** Learning rates as plain functions of the step, counted from 1. Give the rate of the step to `update`, as an argument of
 *  the jitted function: it is a number that may change without another trace. */
import { ArgumentError } from "../errors.ts";

/** The learning rate of a step. */
export type Schedule = (step: number) => number;

const check = (name: string, numbers: Readonly<Record<string, number>>): void => {
  for (const [k, v] of Object.entries(numbers))
    if (!Number.isFinite(v) || v < 0)
      throw new ArgumentError(`${name}: expected ${k} to be a number of at least 0, got ${v}`);
};

/** The same rate at every step. */
export function constant(rate: number): Schedule {
  check("constant", { rate });
  return () => rate;
}

/** On a straight line from `from` at step 0 to `to` at step `steps`, and there afterwards.
 *  @throws ArgumentError */
export function linear({
  from,
  to,
  steps,
}: {
  readonly from: number;
  readonly to: number;
  readonly steps: number;
}): Schedule {
  check("linear", { from, to, steps });
  return (step) => (step >= steps ? to : from + ((to - from) * Math.max(step, 0)) / steps);
}

/** On a straight line from 0 at step 0 to `peak` at `warmupSteps`, then half a cosine down to `finalFraction` of the peak at
 *  `steps`, and there afterwards.
 *  @throws ArgumentError
 *  @see Loshchilov & Hutter 2016, arXiv:1608.03983, eq. 5
 *  @example const rate = optim.warmupCosine({ peak: 3e-4, warmupSteps: 100, steps: 1000 }); rate(50)   // 1.5e-4 */
export function warmupCosine({
  peak,
  warmupSteps,
  steps,
  finalFraction = 0.1,
}: {
  readonly peak: number;
  readonly warmupSteps: number;
  readonly steps: number;
  readonly finalFraction?: number;
}): Schedule {
  check("warmupCosine", { peak, warmupSteps, steps, finalFraction });
  if (warmupSteps > steps)
    throw new ArgumentError(`warmupCosine: ${warmupSteps} warm-up steps are more than the ${steps} of the whole run`);
  return (step) => {
    if (step < warmupSteps) return (peak * Math.max(step, 0)) / warmupSteps;
    const left = steps - warmupSteps;
    const part = left === 0 ? Number(step > steps) : Math.min(1, (step - warmupSteps) / left);
    return peak * (finalFraction + (1 - finalFraction) * 0.5 * (1 + Math.cos(Math.PI * part)));
  };
}
