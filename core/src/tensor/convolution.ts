/** Convolutions and pooling, in PyTorch's layout: images `[batch, channels, ...space]`, weights `[out, in / groups, ...window]`. Each
 *  setting is one number for all axes of space, or one an axis. */
import { ArgumentError, ShapeError } from "../errors.ts";
import { identityOf } from "../interpreter/contraction.ts";
import { dimsOf, type Node } from "../ir/node.ts";
import { typeText } from "../ir/type.ts";
import { cast, fill, pad, reshape, scalar } from "../ops/build.ts";
import * as build from "../ops/convolution.ts";
import { window } from "../ops/window.ts";
import { knownDims } from "../ops/indexing.ts";
import { add, div } from "./arithmetic.ts";
import { promote } from "./dtypes.ts";
import { floatNode, result } from "./operand.ts";
import type { Tensor } from "./tensor.ts";

/** One number for all axes, or one an axis. */
export type PerAxis = number | readonly number[];

/** Zeros around: as many on both sides of an axis, pairs of before and after, or as many as keep the size at stride 1. */
export type Padding = number | "same" | readonly (number | readonly [number, number])[];

/** Stride, padding, dilation, groups and bias. */
export interface ConvOptions {
  readonly stride?: PerAxis;
  readonly padding?: Padding;
  /** The distance of the elements of a window. */
  readonly dilation?: PerAxis;
  /** Groups of channels, each of which sees its own inputs alone. */
  readonly groups?: number;
  /** [out] */
  readonly bias?: Tensor | undefined;
}

function perAxis(op: string, name: string, value: PerAxis, count: number, least = 1): number[] {
  const list = typeof value === "number" ? Array.from({ length: count }, () => value) : [...value];
  if (list.length !== count || list.some((v) => !Number.isInteger(v) || v < least))
    throw new ArgumentError(
      `${op}: expected ${name} to be ${count} integers of at least ${least}, or one for all, got ${JSON.stringify(value)}`,
    );
  return list;
}

function paddingOf(op: string, padding: Padding, over: readonly number[]): [number[], number[]] {
  if (padding === "same") return [over.map((o) => Math.floor(o / 2)), over.map((o) => Math.ceil(o / 2))];
  const list = typeof padding === "number" ? over.map(() => padding) : padding;
  const pairs = list.map((p): readonly [number, number] => (typeof p === "number" ? [p, p] : p));
  if (pairs.length !== over.length || pairs.flat().some((p) => !Number.isInteger(p) || p < 0))
    throw new ArgumentError(
      `${op}: expected padding of at least 0 for ${over.length} axes, or "same", got ${JSON.stringify(padding)}`,
    );
  return [pairs.map(([low]) => low), pairs.map(([, high]) => high)];
}

/** [n, groups · c, ...space] as [n, groups, c, ...space], where `at` is the axis that is cut. */
function grouped(op: string, x: Node, at: number, groups: number): Node {
  const dims = knownDims(x);
  const size = dims[at] as number;
  if (!Number.isInteger(groups) || groups < 1 || size % groups !== 0)
    throw new ShapeError(`${op}: ${size} channels of ${typeText(x.type)} are not ${groups} equal groups`);
  return reshape(x, [...dims.slice(0, at), groups, size / groups, ...dims.slice(at + 1)]);
}

function operands(op: string, x: Tensor, w: Tensor, space: number | undefined): [Node, Node] {
  if (x.rank !== w.rank || x.rank < 3 || (space !== undefined && x.rank !== space + 2))
    throw new ShapeError(
      `${op}: expected images [batch, channels, ...space] and weights [out, in, ...window] of ${space ?? "as many"} axes of space, got ${typeText(x.type)} and ${typeText(w.type)}`,
    );
  const dtype = promote(x.dtype, w.dtype);
  return [cast(x.node, dtype), cast(w.node, dtype)];
}

function withBias(y: Tensor, bias: Tensor | undefined): Tensor {
  if (!bias) return y;
  return add(
    y,
    result(() => reshape(bias.node, [1, ...bias.dims, ...y.dims.slice(2).map(() => 1)])),
  );
}

type Convolve = (x: Tensor, w: Tensor, options?: ConvOptions) => Tensor;

const convolve =
  (op: string, space?: number): Convolve =>
  (x, w, { stride = 1, padding = 0, dilation = 1, groups = 1, bias } = {}) =>
    withBias(
      result(() => {
        const [image, weights] = operands(op, x, w, space);
        const n = x.rank - 2;
        const [strides, dilations] = [perAxis(op, "stride", stride, n), perAxis(op, "dilation", dilation, n)];
        const over = knownDims(weights)
          .slice(2)
          .map((k, i) => (dilations[i] as number) * (k - 1));
        const [low, high] = paddingOf(op, padding, over);
        const y = build.conv(grouped(op, image, 1, groups), grouped(op, weights, 0, groups), {
          strides,
          dilations,
          low,
          high,
        });
        const [batch, , out, ...rest] = knownDims(y) as [number, number, number, ...number[]];
        return reshape(y, [batch, groups * out, ...rest]);
      }),
      bias,
    );

/** The convolution (a cross-correlation, as everywhere in deep learning) over as many axes as the images have behind batch and channels.
 *  @param x  [batch, in, ...space]
 *  @param w  [out, in / groups, ...window]
 *  @returns  [batch, out, ...⌊(space + padding − dilation · (window − 1) − 1) / stride⌋ + 1]
 *  @throws ShapeError, DTypeError, ArgumentError
 *  @example await conv(tensor([[[1, 2, 3, 4]]]), tensor([[[1, -1]]])).data()   // → [-1, -1, -1] */
export const conv: Convolve = convolve("conv");
/** `conv` over one axis. */
export const conv1d: Convolve = convolve("conv1d", 1);
/** `conv` over two axes. */
export const conv2d: Convolve = convolve("conv2d", 2);
/** `conv` over three axes. */
export const conv3d: Convolve = convolve("conv3d", 3);

/** Those of `conv`, and what its stride leaves open of the result's size. */
export interface ConvTransposeOptions extends ConvOptions {
  /** Elements more at the end, of the several sizes that a strided convolution makes into one. */
  readonly outputPadding?: PerAxis;
}

/** The transpose of `conv`: what its gradient does to images. As PyTorch's `conv_transpose`.
 *  @param x  [batch, in, ...space]
 *  @param w  [in, out / groups, ...window]
 *  @returns  [batch, out, ...(space − 1) · stride − padding + dilation · (window − 1) + outputPadding + 1] */
export const convTranspose = (
  x: Tensor,
  w: Tensor,
  { stride = 1, padding = 0, dilation = 1, groups = 1, outputPadding = 0, bias }: ConvTransposeOptions = {},
): Tensor =>
  withBias(
    result(() => {
      const op = "convTranspose";
      const [image, weights] = operands(op, x, w, undefined);
      const n = x.rank - 2;
      const [strides, dilations] = [perAxis(op, "stride", stride, n), perAxis(op, "dilation", dilation, n)];
      const more = perAxis(op, "outputPadding", outputPadding, n, 0);
      const over = knownDims(weights)
        .slice(2)
        .map((k, i) => (dilations[i] as number) * (k - 1));
      const [low, high] = paddingOf(op, padding, over);
      const size = knownDims(image)
        .slice(2)
        .map((d, i) => {
          const whole = (d - 1) * (strides[i] as number) + (over[i] as number) + 1;
          return Math.max(0, whole - (low[i] as number) - (high[i] as number) + (more[i] as number));
        });
      const y = build.spread(
        grouped(op, image, 1, groups),
        grouped(op, weights, 0, groups),
        { strides, dilations },
        low,
        size,
      );
      const [batch, , out, ...rest] = knownDims(y) as [number, number, number, ...number[]];
      return reshape(y, [batch, groups * out, ...rest]);
    }),
    bias,
  );

/** The windows' distance, padding and dilation. */
export interface PoolOptions {
  /** The distance of the windows; by default they lie side by side. */
  readonly stride?: PerAxis;
  readonly padding?: Exclude<Padding, "same">;
  readonly dilation?: PerAxis;
}

function pooled(op: string, x: Node, size: PerAxis, options: PoolOptions, kind: "sum" | "max", around: number): Node {
  const rank = dimsOf(x).length;
  const n = typeof size === "number" ? rank - 2 : size.length;
  if (n < 1 || n > rank)
    throw new ShapeError(`${op}: expected [batch, channels, ...space], or a size an axis, got ${typeText(x.type)}`);
  const sizes = perAxis(op, "size", size, n);
  const strides = perAxis(op, "stride", options.stride ?? sizes, n);
  const dilations = perAxis(op, "dilation", options.dilation ?? 1, n);
  const [low, high] = paddingOf(op, options.padding ?? 0, sizes);
  const lead = Array.from({ length: rank - n }, () => 0);
  const padded = [...low, ...high].some((p) => p > 0) ? pad(x, [...lead, ...low], [...lead, ...high], around) : x;
  return window(padded, { kind, sizes, strides, dilations });
}

/** The largest element of each window over the last axes; NaN where there is one. The first of equal ones gets the gradient.
 *  @param size  of the windows: one number for all axes behind the first two, or one for each of the last axes
 *  @example await maxPool(tensor([[[1, 3, 2, 5]]]), 2).data()   // → [3, 5] */
export const maxPool = (x: Tensor, size: PerAxis, options: PoolOptions = {}): Tensor =>
  result(() => pooled("maxPool", x.node, size, options, "max", identityOf("max", x.dtype)));

/** The mean of each window over the last axes.
 *  @param options.countPadding  whether padding counts as elements of 0 (as in PyTorch, by default) or as none */
export const avgPool = (
  x: Tensor,
  size: PerAxis,
  { countPadding = true, ...options }: PoolOptions & { readonly countPadding?: boolean } = {},
): Tensor => {
  const sum = result(() => pooled("avgPool", floatNode("avgPool", x), size, options, "sum", 0));
  const n = typeof size === "number" ? x.rank - 2 : size.length;
  if (countPadding)
    return div(
      sum,
      perAxis("avgPool", "size", size, n).reduce((c, k) => c * k, 1),
    );
  const counts = result(() => {
    const dims = x.dims.map((d, a) => (a < x.rank - n ? 1 : d));
    return pooled("avgPool", fill(scalar(1, sum.dtype), dims), size, options, "sum", 0);
  });
  return div(sum, counts);
};
