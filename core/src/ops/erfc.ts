/** 1 − erf in double precision, the reference for the `erfc` op: the continued fraction beyond 1 (Abramowitz & Stegun 7.1.14), where a
 *  difference would lose what is left. */
import { erf } from "./erf.ts";

export function erfc(x: number): number {
  if (Number.isNaN(x) || x < 1) return 1 - erf(x);
  let fraction = x;
  for (let n = 200; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction;
}
