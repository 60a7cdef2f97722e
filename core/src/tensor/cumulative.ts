/** Running totals along an axis, in the dtype of x; `reverse` walks from the end. Functions, not methods, so that a bundle without
 *  them has nothing of them. All throw ShapeError for an axis that x does not have. */
import type { CumulateKind } from "../ir/node.ts";
import { cast } from "../ops/build.ts";
import { cumulate, previous } from "../ops/cumulative.ts";
import { add, equal, exp, isFinite, less, log, minimum, stopGradient, sub, where } from "./arithmetic.ts";
import { axisOf, floatNode, result } from "./operand.ts";
import type { Tensor } from "./tensor.ts";

/** The direction of a running total. */
export interface CumulativeOptions {
  readonly reverse?: boolean;
}

type Cumulative = (x: Tensor, axis: number, options?: CumulativeOptions) => Tensor;

const cumulative =
  (kind: CumulateKind): Cumulative =>
  (x, axis, { reverse = false } = {}) =>
    result(() => {
      const counted = x.dtype === "bool" && (kind === "sum" || kind === "prod") ? cast(x.node, "i32") : x.node;
      return cumulate(kind, [counted], axisOf(kind, x.rank, axis), reverse);
    });

/** The sum of the elements up to each one.
 *  @example await cumsum(tensor([1, 2, 3]), 0).data()   // → [1, 3, 6] */
export const cumsum: Cumulative = cumulative("sum");
/** The product of the elements up to each one. Its gradient holds where elements are 0. */
export const cumprod: Cumulative = cumulative("prod");
/** The largest element up to each one; NaN from the first NaN on. Of equal ones the last gets the gradient. */
export const cummax: Cumulative = cumulative("max");
/** The smallest element up to each one; NaN from the first NaN on. Of equal ones the last gets the gradient. */
export const cummin: Cumulative = cumulative("min");

/** The logarithm of the sum of the exponentials of the elements up to each one, without overflow; −∞ where all of them are −∞,
 *  with gradient 0. Terms are kept relative to the largest so far, mᵢ: sᵢ = exp(mᵢ₋₁ − mᵢ)·sᵢ₋₁ + exp(xᵢ − mᵢ). */
export const logCumSumExp: Cumulative = (x, axis, { reverse = false } = {}) => {
  const at = axisOf("logCumSumExp", x.rank, axis);
  const float = result(() => floatNode("logCumSumExp", x));
  const largest = stopGradient(cummax(float, at, { reverse }));
  const shift = where(isFinite(largest), largest, 0);
  const before = result(() => previous(largest.node, at, reverse, Number.NEGATIVE_INFINITY));
  const decay = where(less(Number.NEGATIVE_INFINITY, before), exp(minimum(sub(before, shift), 0)), 0);
  const total = result(() => cumulate("affine", [exp(sub(float, shift)).node, decay.node], at, reverse));
  const none = equal(total, 0);
  return add(log(where(none, 1, total)), where(none, Number.NEGATIVE_INFINITY, shift));
};
