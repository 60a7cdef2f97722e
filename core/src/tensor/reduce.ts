/** Reductions and products. An axis may be one, several or (by default) all; `keepDims` leaves them as axes of 1. */
import { ShapeError } from "../errors.ts";
import { type Dim, known, sizeOf } from "../ir/dim.ts";
import { type DType, dtypes, isFloat, largest } from "../ir/dtype.ts";
import { dimsOf, type Node, type ReduceKind } from "../ir/node.ts";
import { typeText } from "../ir/type.ts";
import * as build from "../ops/build.ts";
import { axesOf, axisOf, broadcastDims, broadcastTo, floatNode, type Operand, result } from "./operand.ts";
import { add, div, exp, log, mul, square, sub, where } from "./arithmetic.ts";
import { promote } from "./dtypes.ts";
import type { Tensor } from "./tensor.ts";

/** Which axes: one, several, or null for all; negative ones count from the end. */
export type Axes = number | readonly number[] | null;

/** Whether reduced axes stay, with size 1. */
export interface ReduceOptions {
  readonly keepDims?: boolean;
}

const reduction =
  (kind: ReduceKind) =>
  (x: Tensor, axes?: Axes, { keepDims = false }: ReduceOptions = {}): Tensor =>
    result(() => {
      const over = axesOf(kind, x.rank, axes);
      const counted = kind === "sum" || kind === "prod" ? build.cast(x.node, countedIn(x.dtype)) : x.node;
      return keepDims ? build.reduceKeep(kind, counted, over) : build.reduce(kind, counted, over);
    });

/** Sums and products of bool and of narrow integers are taken in 32 bits. */
const countedIn = (dtype: DType): DType =>
  dtypes[dtype].bits < 32 && !isFloat(dtype) ? (dtypes[dtype].kind === "uint" ? "u32" : "i32") : dtype;

type Reduce = (x: Tensor, axes?: Axes, options?: ReduceOptions) => Tensor;

/** The sum; of bool, how many are true. An empty sum is 0. Integers of 8 and 16 bits are summed, and multiplied, as i32 or u32. */
export const sum: Reduce = reduction("sum");
/** The product. An empty one is 1. */
export const prod: Reduce = reduction("prod");
/** The largest; NaN if any is. Equal largest ones share the gradient. */
export const max: Reduce = reduction("max");
/** The smallest; NaN if any is. */
export const min: Reduce = reduction("min");
/** Whether all are true. */
export const all: Reduce = reduction("min");
/** Whether any is true. */
export const any: Reduce = reduction("max");

/** How many elements are reduced; one by one, where a size is a symbol. */
function count(x: Tensor, axes: Axes | undefined): Tensor | number {
  const dims = axesOf("mean", x.rank, axes).map((a) => x.dims[a] as Dim);
  const size = sizeOf(dims);
  if (typeof size === "number") return size;
  const each = result(() => build.fill(build.scalar(1, isFloat(x.dtype) ? x.dtype : "f32"), dims));
  return sum(each);
}

/** The arithmetic mean, of integers in f32. */
export const mean: Reduce = (x, axes, options) =>
  div(sum(isFloat(x.dtype) ? x : result(() => build.cast(x.node, "f32")), axes, options), count(x, axes));

/** The mean squared distance from the mean, divided by n − correction. */
export const variance = (
  x: Tensor,
  axes?: Axes,
  { keepDims = false, correction = 0 }: ReduceOptions & { readonly correction?: number } = {},
): Tensor => {
  const n = count(x, axes);
  const total = sum(square(sub(x, mean(x, axes, { keepDims: true }))), axes, { keepDims });
  return div(total, typeof n === "number" ? n - correction : sub(n, correction));
};

/** The root of the variance. Its gradient where that is 0 is 0. */
export const std = (x: Tensor, axes?: Axes, options?: Parameters<typeof variance>[2]): Tensor =>
  rootOf(variance(x, axes, options));

type ArgReduce = (x: Tensor, axis?: number, options?: ReduceOptions) => Tensor;

/** The least position that holds the extremum, or the first NaN: two sweeps, over values and over positions. */
const place =
  (name: string, kind: "max" | "min"): ArgReduce =>
  (x, axis, { keepDims = false } = {}) =>
    result(() => {
      const flat = axis === undefined ? build.reshape(x.node, [sizeOf(x.dims)]) : x.node;
      const at = axis === undefined ? 0 : axisOf(name, x.rank, axis);
      const n = known(dimsOf(flat)[at] as Dim, name);
      if (n === 0) throw new ShapeError(`${name}: axis ${at} of ${typeText(x.type)} has no elements`);
      const extremum = build.expand(build.reduceKeep(kind, flat, [at]), dimsOf(flat));
      const hit = build.or(build.eq(flat, extremum), build.not(build.eq(flat, flat)));
      const positions = build.iota("i32", dimsOf(flat), at);
      const found = build.reduce("min", build.where(hit, positions, build.constantLike(positions, n)), [at]);
      if (!keepDims) return found;
      return build.reshape(
        found,
        x.dims.map((d, a) => (axis === undefined || a === at ? 1 : d)),
      );
    });

/** The position (i32) of the largest element along an axis, or without one in row-major order; of equal ones the first, and of
 *  the first NaN if there is any.
 *  @throws ShapeError if there is no element */
export const argmax: ArgReduce = place("argmax", "max");
/** The position of the smallest element; else as `argmax`. */
export const argmin: ArgReduce = place("argmin", "min");

/** log Σ exp x, without overflow. A row of −∞ gives −∞, with gradient 0. */
export const logSumExp: Reduce = (x, axes, { keepDims = false } = {}) => {
  const m = shiftOf(x, axes);
  const s = sum(exp(sub(x, m)), axes, { keepDims: true });
  // The largest term is 1, so a sum of 0 is a row of −∞; its logarithm is kept away from the derivative.
  const none = result(() => build.eq(s.node, build.zerosLike(s.node)));
  const kept = add(log(where(none, 1, s)), where(none, Number.NEGATIVE_INFINITY, m));
  return keepDims
    ? kept
    : result(() => build.reshape(kept.node, dimsOf(build.reduce("max", x.node, axesOf("logSumExp", x.rank, axes)))));
};

const topOf = (x: Tensor, axes?: Axes): Tensor =>
  result(() => build.stopGradient(max(x, axes, { keepDims: true }).node));

/** The largest element, which log-sum-exp subtracts; a finite number in its place where it is infinite, so that ∞ − ∞ does not arise. */
const shiftOf = (x: Tensor, axes?: Axes): Tensor => {
  const m = topOf(x, axes);
  const most = largest[m.dtype] ?? Number.POSITIVE_INFINITY;
  return result(() => {
    const isMore = build.lt(build.constantLike(m.node, Number.NEGATIVE_INFINITY), m.node);
    return build.where(isMore, build.min(m.node, build.constantLike(m.node, most)), build.zerosLike(m.node));
  });
};

/** exp x / Σ exp x over an axis, without overflow. NaN in all of a row that holds ∞, or nothing but −∞, as PyTorch has it. */
export const softmax = (x: Tensor, axis = -1): Tensor => {
  const e = exp(sub(x, topOf(x, axis)));
  // One division a row, and none in the derivative.
  return mul(e, div(1, sum(e, axis, { keepDims: true })));
};

/** log(exp x / Σ exp x) over an axis. The largest element is subtracted before the logarithm is, so that large x keep their digits.
 *  NaN where softmax is. */
export const logSoftmax = (x: Tensor, axis = -1): Tensor => {
  const y = sub(x, topOf(x, axis));
  return sub(y, log(sum(exp(y), axis, { keepDims: true })));
};

/** The product of matrices, batched: `[..., m, k] · [..., k, n] → [..., m, n]`; leading axes broadcast, a vector on either
 *  side is a row or a column whose axis then goes.
 *  @throws ShapeError naming the sizes that differ */
export const matmul = (a: Tensor, b: Tensor): Tensor =>
  result(() => {
    const [x, y] = [a, b].map((t) => t.rank) as [number, number];
    if (x === 0 || y === 0)
      throw new ShapeError(
        `matmul: expected at least one axis on each side, got ${typeText(a.type)} and ${typeText(b.type)}`,
      );
    const [l, r] = sameDType(a, b);
    // Without leading axes on one side the product is one contraction, with no copy of the smaller side.
    if (x === 1 || y <= 2) return build.dot(l, r, { contract: [[x - 1], [Math.max(y - 2, 0)]], batch: [[], []] });
    if (y === 1) return build.dot(l, r, { contract: [[x - 1], [0]], batch: [[], []] });
    const lead = broadcastDims("matmul", [dimsOf(l).slice(0, -2), dimsOf(r).slice(0, -2)]);
    const n = lead.length;
    const batch = lead.map((_, i) => i);
    return build.dot(
      broadcastTo(l, [...lead, ...dimsOf(l).slice(-2)]),
      broadcastTo(r, [...lead, ...dimsOf(r).slice(-2)]),
      {
        contract: [[n + 1], [n]],
        batch: [batch, batch],
      },
    );
  });

/** The general product: contracts pairs of axes, runs batch pairs in step. The result has batch, then a's free axes, then b's. */
export const dot = (
  a: Tensor,
  b: Tensor,
  {
    contract,
    batch = [[], []],
  }: {
    readonly contract: readonly [readonly number[], readonly number[]];
    readonly batch?: readonly [readonly number[], readonly number[]];
  },
): Tensor =>
  result(() => {
    const [l, r] = sameDType(a, b);
    const plain = (axes: readonly number[], rank: number) => axes.map((axis) => axisOf("dot", rank, axis));
    return build.dot(l, r, {
      contract: [plain(contract[0], a.rank), plain(contract[1], b.rank)],
      batch: [plain(batch[0], a.rank), plain(batch[1], b.rank)],
    });
  });

function sameDType(a: Tensor, b: Tensor): [Node, Node] {
  const dtype = promote(a.dtype, b.dtype);
  return [build.cast(a.node, dtype), build.cast(b.node, dtype)];
}

/** The length of x as a vector over the axes, √Σx². Its gradient at 0 is 0. */
export const norm = (x: Operand, axes?: Axes, options?: ReduceOptions): Tensor =>
  rootOf(sum(square(result(() => floatNode("norm", x))), axes, options));

/** √s for s ≥ 0, with gradient 0 at 0. NaN stays. */
function rootOf(s: Tensor): Tensor {
  const zero = result(() => build.eq(s.node, build.zerosLike(s.node)));
  return where(
    zero,
    0,
    result(() => build.sqrt(where(zero, 1, s).node)),
  );
}
