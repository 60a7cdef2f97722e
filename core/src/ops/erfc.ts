/** 1 − erf in double precision, the reference for the `erfc` op, within 6 units in the last place: the continued fraction beyond 1
 *  (Abramowitz & Stegun 7.1.14), where a difference would lose what is left. From 28 on it is 0. */
import { erf } from "./erf.ts";

export function erfc(x: number): number {
  if (!(x >= 1)) return 1 - erf(x);
  const a = Math.min(x, 28);
  let fraction = a;
  for (let n = 200; n > 0; n--) fraction = a + n / 2 / fraction;
  // The square in two parts, the first exact: an exponential has as many units of error as its argument is large.
  const head = Math.fround(a);
  return (Math.exp(-head * head) * Math.exp((head - a) * (head + a))) / Math.sqrt(Math.PI) / fraction;
}
