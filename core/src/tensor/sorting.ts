/** Sorting along an axis: stable, NaN as the greatest, gradients through the permutation. */
import { ArgumentError } from "../errors.ts";
import { type Dim, known } from "../ir/dim.ts";
import { argsort as order } from "../ops/sorting.ts";
import { takeAlongAxis } from "./indexed.ts";
import { axisOf, result } from "./operand.ts";
import { narrow } from "./shape.ts";
import type { Tensor } from "./tensor.ts";

/** The axis and the direction. */
export interface SortOptions {
  readonly descending?: boolean;
}

/** Values in their order, and the position (i32) that each had along the axis. */
export interface Sorted {
  readonly values: Tensor;
  readonly indices: Tensor;
}

/** The positions (i32) of the elements of an axis in ascending order; equal ones stay in theirs, NaN comes last (first where
 *  descending).
 *  @throws ShapeError */
export const argsort = (x: Tensor, axis = -1, { descending = false }: SortOptions = {}): Tensor =>
  result(() => order(x.node, axisOf("argsort", x.rank, axis), descending));

/** The elements of an axis in ascending order, as `argsort` has it.
 *  @example await sort(tensor([3, 1, 2])).values.data()   // → [1, 2, 3] */
export const sort = (x: Tensor, axis = -1, options: SortOptions = {}): Sorted => {
  const indices = argsort(x, axis, options);
  return { values: takeAlongAxis(x, indices, axis), indices };
};

/** The k largest elements of an axis (or the smallest), in order from there; of equal ones the first come first.
 *  @throws ArgumentError if the axis has fewer than k
 *  @example await topK(tensor([3, 1, 2]), 2).values.data()   // → [3, 2] */
export const topK = (
  x: Tensor,
  k: number,
  axis = -1,
  { largest = true }: { readonly largest?: boolean } = {},
): Sorted => {
  const at = axisOf("topK", x.rank, axis);
  const n = known(x.dims[at] as Dim, "topK");
  if (!Number.isInteger(k) || k < 0 || k > n)
    throw new ArgumentError(`topK: expected k in 0..${n}, the size of axis ${at}, got ${k}`);
  const indices = narrow(argsort(x, at, { descending: largest }), at, 0, k);
  return { values: takeAlongAxis(x, indices, at), indices };
};
