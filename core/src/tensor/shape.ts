/** Movement: the same values in another arrangement. Nothing is copied until a kernel reads through the arrangement. */
import { ArgumentError, ShapeError } from "../errors.ts";
import { type Dim, dimText, divDim, known, sizeOf } from "../ir/dim.ts";
import { dimsOf, type Node } from "../ir/node.ts";
import { located } from "../ir/site.ts";
import { typeText } from "../ir/type.ts";
import * as build from "../ops/build.ts";
import { axesOf, axisOf, broadcastDims, broadcastTo, nodeOf, numberNode, type Operand, result } from "./operand.ts";
import { Tensor } from "./tensor.ts";

/** The same elements, row-major, in other dims; one of them may be −1 and is worked out.
 *  @throws ShapeError if the numbers of elements differ
 *  @example tensor([1, 2, 3, 4]).reshape([2, -1])   // [[1, 2], [3, 4]] */
export const reshape = (x: Tensor, dims: readonly Dim[]): Tensor =>
  result(() => build.reshape(x.node, infer(x.node, dims)));

function infer(x: Node, dims: readonly Dim[]): readonly Dim[] {
  const open = dims.flatMap((d, a) => (d === -1 ? [a] : []));
  if (open.length === 0) return dims;
  const rest = divDim(sizeOf(dimsOf(x)), sizeOf(dims.filter((d) => d !== -1)));
  if (open.length > 1 || rest === undefined)
    throw new ShapeError(`reshape: ${typeText(x.type)} does not fill [${dims.map(dimText).join(", ")}]`);
  return dims.map((d) => (d === -1 ? rest : d));
}

/** The axes in another order; without an order, reversed. */
export const transpose = (x: Tensor, axes?: readonly number[]): Tensor =>
  result(() =>
    build.permute(
      x.node,
      (axes ?? x.dims.map((_, a) => x.rank - 1 - a)).map((a) => axisOf("transpose", x.rank, a)),
    ),
  );

/** Two axes exchanged. */
export const swapAxes = (x: Tensor, a: number, b: number): Tensor =>
  result(() => {
    const [p, q] = [axisOf("swapAxes", x.rank, a), axisOf("swapAxes", x.rank, b)];
    return build.permute(
      x.node,
      x.dims.map((_, i) => (i === p ? q : i === q ? p : i)),
    );
  });

/** Repeats axes of 1, and adds axes in front, up to the given dims. */
export const broadcast = (x: Operand, dims: readonly Dim[]): Tensor =>
  result(() => {
    const node = nodeOf("broadcast", x);
    broadcastDims("broadcast", [dimsOf(node), dims]);
    return broadcastTo(node, dims);
  });

/** A new axis of 1. */
export const expandDims = (x: Tensor, axis: number): Tensor =>
  result(() => {
    const at = axisOf("expandDims", x.rank + 1, axis);
    return build.reshape(x.node, [...x.dims.slice(0, at), 1, ...x.dims.slice(at)]);
  });

/** Drops axes of 1: the named ones, or all. */
export const squeeze = (x: Tensor, axes?: number | readonly number[]): Tensor =>
  result(() => {
    const drop = axesOf("squeeze", x.rank, axes ?? x.dims.flatMap((d, a) => (d === 1 ? [a] : [])));
    for (const a of drop)
      if (x.dims[a] !== 1) throw new ShapeError(`squeeze: axis ${a} of ${typeText(x.type)} is not 1`);
    return build.reshape(
      x.node,
      x.dims.filter((_, a) => !drop.includes(a)),
    );
  });

/** Puts `value` around: `[before, after]` for each axis. */
export const pad = (x: Tensor, amounts: readonly (readonly [number, number])[], value = 0): Tensor =>
  result(() => {
    if (amounts.length !== x.rank)
      throw new ShapeError(`pad: expected ${x.rank} pairs of amounts, got ${amounts.length}`);
    return build.pad(
      x.node,
      amounts.map(([low]) => low),
      amounts.map(([, high]) => high),
      value,
    );
  });

/** The elements of some axes, or of all, in the opposite order. */
export const flip = (x: Tensor, axes?: number | readonly number[]): Tensor =>
  result(() => build.flip(x.node, axesOf("flip", x.rank, axes)));

/** Joins tensors end to end on an axis; the other sizes are equal.
 *  @throws ShapeError, DTypeError; ArgumentError for an empty list */
export const concat = (parts: readonly Tensor[], axis = 0): Tensor =>
  result(() => {
    const [first] = parts;
    if (!first) throw new ArgumentError("concat: expected at least one tensor, got none");
    return build.concat(
      parts.map((p) => p.node),
      axisOf("concat", first.rank, axis),
    );
  });

/** Joins tensors of equal shape on a new axis. */
export const stack = (parts: readonly Tensor[], axis = 0): Tensor =>
  concat(
    parts.map((p) => expandDims(p, axis)),
    axis,
  );

/** Equal pieces along an axis.
 *  @throws ShapeError if the axis is not a multiple of the count */
export const split = (x: Tensor, count: number, axis = 0): Tensor[] =>
  located(() => {
    const at = axisOf("split", x.rank, axis);
    const size = divDim(x.dims[at] as Dim, count);
    if (size === undefined || !Number.isInteger(count) || count < 1)
      throw new ShapeError(`split: axis ${at} of ${typeText(x.type)} is not ${count} equal pieces`);
    return Array.from({ length: count }, (_, i) => {
      const from = known(size, "split") * i;
      return narrow(x, at, from, known(size, "split"));
    });
  });

/** `size` elements of an axis from `start`. */
export const narrow = (x: Tensor, axis: number, start: number, size: number): Tensor =>
  result(() => {
    const at = axisOf("narrow", x.rank, axis);
    return build.slice(
      x.node,
      x.dims.map((_, a) => (a === at ? start : 0)),
      x.dims.map((d, a) => (a === at ? size : d)),
    );
  });

/** Part of an axis: from `start` up to but not including `end`, every `step`-th; negative positions count from the end, a
 *  negative step walks backwards, as Python's slices. */
export interface Slice {
  readonly start?: number | undefined;
  readonly end?: number | undefined;
  readonly step?: number | undefined;
}

/** A range of an axis for `at`, as Python's `start:end:step`. */
export const slice = (start?: number, end?: number, step?: number): Slice => ({ start, end, step });

/** Basic indexing: for each axis in turn a position (the axis goes), a slice, or null (a new axis of 1).
 *  @throws ShapeError for a position outside, or more entries than axes
 *  @example x.at(0, slice(1, 3))   // like x[0, 1:3] */
export const at = (x: Tensor, ...index: readonly (number | Slice | null)[]): Tensor =>
  result(() => {
    const start: Dim[] = [];
    const size: Dim[] = [];
    const step: number[] = [];
    const flips: number[] = [];
    const dims: Dim[] = [];
    let axis = 0;
    for (const entry of index) {
      if (entry === null) {
        dims.push(1);
        continue;
      }
      const whole = x.dims[axis];
      if (whole === undefined)
        throw new ShapeError(`at: ${index.length} entries for ${typeText(x.type)}, which has ${x.rank} axes`);
      if (typeof entry === "number") {
        const n = known(whole, "at");
        if (!Number.isInteger(entry) || entry < -n || entry >= n)
          throw new ShapeError(`at: position ${entry} is outside axis ${axis} of ${typeText(x.type)}`);
        start.push(entry < 0 ? entry + n : entry);
        size.push(1);
        step.push(1);
      } else {
        const s = resolve(entry, whole);
        start.push(s.start);
        size.push(s.size);
        step.push(s.step);
        if (s.flipped) flips.push(axis);
        dims.push(s.size);
      }
      axis++;
    }
    for (; axis < x.rank; axis++) {
      start.push(0);
      size.push(x.dims[axis] as Dim);
      step.push(1);
      dims.push(x.dims[axis] as Dim);
    }
    const taken = build.slice(x.node, start, size, step);
    return build.reshape(flips.length > 0 ? build.flip(taken, flips) : taken, dims);
  });

function resolve(
  { start, end, step = 1 }: Slice,
  whole: Dim,
): { start: Dim; size: Dim; step: number; flipped: boolean } {
  if (!Number.isInteger(step) || step === 0)
    throw new ArgumentError(`slice: expected a step that is a whole number other than 0, got ${step}`);
  if (start === undefined && end === undefined && step === 1) return { start: 0, size: whole, step, flipped: false };
  const n = known(whole, "slice");
  const clamp = (p: number, lo: number, hi: number) => Math.min(Math.max(p < 0 ? p + n : p, lo), hi);
  if (step > 0) {
    const from = clamp(start ?? 0, 0, n);
    const size = Math.max(0, Math.ceil((clamp(end ?? n, 0, n) - from) / step));
    return { start: from, size, step, flipped: false };
  }
  const from = start === undefined ? n - 1 : clamp(start, -1, n - 1);
  const to = end === undefined ? -1 : clamp(end, -1, n - 1);
  const size = Math.max(0, Math.ceil((from - to) / -step));
  return { start: size === 0 ? 0 : from + (size - 1) * step, size, step: -step, flipped: true };
}

/** Ones on and below the k-th diagonal of the last two axes keep their values, the others become 0. */
export const tril = (x: Tensor, k = 0): Tensor => band(x, (row, column) => build.not(build.lt(row, column)), k);
/** The values on and above the k-th diagonal, 0 below. */
export const triu = (x: Tensor, k = 0): Tensor => band(x, (row, column) => build.not(build.lt(column, row)), k);

function band(x: Tensor, inside: (row: Node, column: Node) => Node, k: number): Tensor {
  return result(() => {
    if (x.rank < 2) throw new ShapeError(`tril/triu: expected at least 2 axes, got ${typeText(x.type)}`);
    const rows = build.iota("i32", x.dims.slice(-2), 0);
    const shifted = build.add(rows, build.fill(build.scalar(k, "i32"), dimsOf(rows)));
    const mask = inside(shifted, build.iota("i32", x.dims.slice(-2), 1));
    return build.where(broadcastTo(mask, x.dims), x.node, build.zerosLike(x.node));
  });
}

/** Slices of x along an axis at the given positions; the result has the indices' dims in the axis' place. An index outside
 *  gives NaN (0 for integers).
 *  @throws DTypeError unless the indices are integers */
export const take = (x: Tensor, indices: Tensor, axis = 0): Tensor =>
  result(() => build.gather(x.node, indices.node, axisOf("take", x.rank, axis)));

/** x with updates added to, or put in place of, the slices that the indices name; an index outside is dropped.
 *  Of an x that is donated, or that nothing else reads, only those slices are written; otherwise all of it is copied.
 *  @param updates  the dims of `take(x, indices, axis)` */
export const scatter = (
  x: Tensor,
  indices: Tensor,
  updates: Operand,
  { axis = 0, mode = "add" }: { axis?: number; mode?: "add" | "set" } = {},
): Tensor =>
  result(() => {
    const at = axisOf("scatter", x.rank, axis);
    const dims = [...x.dims.slice(0, at), ...indices.dims, ...x.dims.slice(at + 1)];
    const value = updates instanceof Tensor ? updates.node : numberNode(updates, x.dtype);
    return build.scatter(x.node, indices.node, broadcastTo(value, dims), at, mode);
  });
