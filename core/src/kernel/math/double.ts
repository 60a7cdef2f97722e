/** Unevaluated sums of two f32, for where one f32 is not enough and there is no fused multiply-add.
 *  Sources: Dekker 1971, "A floating-point technique for extending the available precision"; Knuth, TAOCP 2, section 4.2.2. */
import type { Node } from "../../ir/node.ts";
import { add, and, bitcast, mul, sub } from "../../ops/build.ts";
import { f32, i32 } from "./float.ts";

/** An unevaluated sum of two f32, the second below the rounding of the first. */
export interface Double {
  readonly hi: Node;
  readonly lo: Node;
}

/** a + b where |a| ≥ |b|. */
export function quickSum(a: Node, b: Node): Double {
  const hi = add(a, b);
  return { hi, lo: sub(b, sub(hi, a)) };
}

export function exactSum(a: Node, b: Node): Double {
  const hi = add(a, b);
  const v = sub(hi, a);
  return { hi, lo: add(sub(a, sub(hi, v)), sub(b, v)) };
}

/** The upper 12 bits, by the mask; and what is left of them. */
export function halves(x: Node): Double {
  const hi = bitcast(and(bitcast(x, "i32"), i32(-4096)), "f32");
  return { hi, lo: sub(x, hi) };
}

export function exactProduct(a: Node, b: Node): Double {
  const hi = mul(a, b);
  const [p, q] = [halves(a), halves(b)];
  const lo = add(sub(mul(p.hi, q.hi), hi), add(mul(p.hi, q.lo), mul(p.lo, q.hi)));
  return { hi, lo: add(lo, mul(p.lo, q.lo)) };
}

export function sumOf(a: Double, b: Double): Double {
  const s = exactSum(a.hi, b.hi);
  return quickSum(s.hi, add(s.lo, add(a.lo, b.lo)));
}

export function productOf(a: Double, b: Double): Double {
  const p = exactProduct(a.hi, b.hi);
  return quickSum(p.hi, add(p.lo, add(mul(a.hi, b.lo), mul(a.lo, b.hi))));
}

/** A number in 48 bits or so. */
export const double = (hi: number): Double => ({ hi: f32(hi), lo: f32(hi - Math.fround(hi)) });
