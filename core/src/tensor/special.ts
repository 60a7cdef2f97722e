/** Special functions, of floats; integers are taken as f32. Accurate where the obvious composition is not (near 0, near 1, far out),
 *  and so are their gradients. Functions, not methods, so that a bundle without them has nothing of them. */
import { isFloat } from "../ir/dtype.ts";
import type { Node } from "../ir/node.ts";
import * as ops from "../ops/special.ts";
import {
  abs,
  add,
  and,
  cast,
  equal,
  exp,
  greater,
  isNan,
  log,
  mul,
  neg,
  not,
  stopGradient,
  sub,
  where,
} from "./arithmetic.ts";
import { floatNode, metTensors, type Operand, result } from "./operand.ts";
import type { Tensor } from "./tensor.ts";

type Unary = (x: Operand) => Tensor;
const floating =
  (op: string, make: (x: Node) => Node): Unary =>
  (x) =>
    result(() => make(floatNode(op, x)));

/** Two operands in one float dtype and shape. */
const floats = (op: string, a: Operand, b: Operand): [Tensor, Tensor] =>
  metTensors(op, [a, b]).map((x) => (isFloat(x.dtype) ? x : cast(x, "f32"))) as [Tensor, Tensor];

/** eˣ − 1.
 *  @example await expm1(1e-10).item()   // → 1.000000013351432e-10 */
export const expm1: Unary = floating("expm1", ops.expm1);
/** log(1 + x).
 *  @example await log1p(1e-10).item()   // → 1.000000013351432e-10 */
export const log1p: Unary = floating("log1p", ops.log1p);
/** 2ˣ */
export const exp2: Unary = floating("exp2", ops.exp2);
/** The logarithm to base 2; exact for powers of 2. */
export const log2: Unary = floating("log2", ops.log2);
/** The logarithm to base 10; exact for powers of 10. */
export const log10: Unary = floating("log10", ops.log10);
/** The tangent of an angle in radians. */
export const tan: Unary = floating("tan", ops.tan);
/** The angle from −π/2 to π/2 whose sine is x; NaN outside of −1 … 1. */
export const asin: Unary = floating("asin", ops.asin);
/** The angle from 0 to π whose cosine is x; NaN outside of −1 … 1. */
export const acos: Unary = floating("acos", ops.acos);
/** The angle from −π/2 to π/2 whose tangent is x. */
export const atan: Unary = floating("atan", ops.atan);
/** Hyperbolic sine. */
export const sinh: Unary = floating("sinh", ops.sinh);
/** Hyperbolic cosine. */
export const cosh: Unary = floating("cosh", ops.cosh);
/** The inverse of the hyperbolic sine. */
export const asinh: Unary = floating("asinh", ops.asinh);
/** NaN below 1. */
export const acosh: Unary = floating("acosh", ops.acosh);
/** NaN outside of −1 … 1, where it is infinite. */
export const atanh: Unary = floating("atanh", ops.atanh);
/** 1 − erf x, with its digits where that is small. */
export const erfc: Unary = floating("erfc", ops.erfc);

/** The angle of the point (x, y), from −π to π; C's rules for zeros and infinities.
 *  @example await atan2(1, -1).item()   // → 2.356194496154785 */
export const atan2 = (y: Operand, x: Operand): Tensor => {
  const [a, b] = floats("atan2", y, x);
  return result(() => ops.atan2(a.node, b.node));
};

/** log(eᵃ + eᵇ) without overflow, with the digits of what is small beside the larger. */
export function logAddExp(a: Operand, b: Operand): Tensor {
  const [x, y] = floats("logAddExp", a, b);
  const larger = greater(y, x);
  const [most, least] = [where(larger, y, x), where(larger, x, y)];
  // ∞ − ∞ is kept out of value and gradient: beside an infinity, and of two equal ones, the result is that.
  const infinite = and(equal(abs(most), Number.POSITIVE_INFINITY), not(isNan(least)));
  const shift = stopGradient(where(infinite, 0, most));
  const rest = add(expm1(sub(where(infinite, 0, most), shift)), exp(sub(where(infinite, 0, least), shift)));
  return where(infinite, most, add(log1p(rest), shift));
}

/** x · log y, and 0 where x is 0 unless y is NaN. */
export function xlogy(a: Operand, b: Operand): Tensor {
  const [x, y] = floats("xlogy", a, b);
  const none = and(equal(x, 0), not(isNan(y)));
  return where(none, 0, mul(x, log(where(none, 1, y))));
}

/** log(x / (1 − x)), the inverse of the sigmoid. */
export const logit = (x: Operand): Tensor => {
  const p = result(() => floatNode("logit", x));
  return sub(log(p), log1p(neg(p)));
};
