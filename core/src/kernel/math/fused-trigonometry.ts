/** f32 sine and cosine for hardware with fused multiply-adds: the argument's distance from the nearest multiple of π/2, then a polynomial,
 *  as in `trigonometry.ts`. Larger arguments are the machine's, in doubles. Errors as tested: 2 units in the last place. */
import type { Node } from "../../ir/node.ts";
import { abs, add, and, bitcast, eq, lt, mul, neg, shl, sub, where, xor } from "../../ops/build.ts";
import { farCos, farSin, fma } from "../../ops/machine.ts";
import { f32, i32, withSignOf } from "./float.ts";

/** Up to here the parts of π/2 below are enough for a number that lies next to a multiple. */
const LARGE = 2 ** 13;
/** Adding it rounds, and leaves the integer in the last bits of the sum. */
const ROUND = 1.5 * 2 ** 23;

/** π/2 in parts, the first two rounded down. A fused multiply-add takes a multiple of the first off exactly: what is left is a multiple of
 *  its last place, and below 1. The second has 11 bits, by which an n of 13 is multiplied exactly. */
const minusHalfPi = [-1.570796251296997, -7.549533620476723e-8, -2.5633440682570896e-12] as const;

export const sine = (x: Node): Node => nearOrFar(x, abs(x), (a) => withSignOf(atQuadrant(a, 0), x), farSin);
export const cosine = (x: Node): Node => nearOrFar(x, abs(x), (a) => atQuadrant(a, 1), farCos);

/** A NaN and the infinities are far. */
function nearOrFar(x: Node, a: Node, near: (a: Node) => Node, far: (x: Node) => Node): Node {
  const isNear = lt(a, f32(LARGE));
  return where(isNear, near(a), far(where(isNear, f32(0), x)));
}

/** The sine of a + shift · π/2. The sum r + lo is a's distance from n · π/2. */
function atQuadrant(a: Node, shift: 0 | 1): Node {
  const shifted = fma(a, f32(2 / Math.PI), f32(ROUND));
  const n = sub(shifted, f32(ROUND));
  const [p0, p1, p2] = minusHalfPi.map(f32) as [Node, Node, Node];
  const first = fma(n, p0, a);
  const second = mul(n, p1);
  const r = add(first, second);
  const lo = fma(n, p2, add(sub(first, r), second));
  const z = mul(r, r);
  // 1 − z/2, and what its rounding lost.
  const most = fma(z, f32(-0.5), f32(1));
  const lost = fma(z, f32(-0.5), sub(f32(1), most));
  const odd = polynomial(z, [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1]);
  const sin = add(r, fma(odd, mul(z, r), mul(lo, most)));
  const even = polynomial(z, [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2]);
  const cos = add(most, fma(even, mul(z, z), fma(neg(r), lo, lost)));
  const bits = bitcast(shifted, "i32");
  const quadrant = shift === 0 ? bits : add(bits, i32(1));
  const y = where(eq(and(quadrant, i32(1)), i32(0)), sin, cos);
  return bitcast(xor(bitcast(y, "i32"), shl(and(quadrant, i32(2)), i32(30))), "f32");
}

/** Horner's rule; the coefficients are those of Cephes `sinf` (Moshier 1992), the highest first. */
const polynomial = (x: Node, [first, ...rest]: readonly number[]): Node =>
  rest.reduce<Node>((sum, c) => fma(sum, x, f32(c)), f32(first as number));
