/** Indexed reading and writing: by one index an element along an axis (`takeAlongAxis`, PyTorch's `gather`), or by tuples of
 *  indices of the first axes (`takeAt`, NumPy's `x[i, j]`). All are a gather or scatter over x laid flat. `take` and `scatter`
 *  move whole slices by one list of indices. */
import { ArgumentError, DTypeError, ShapeError } from "../errors.ts";
import { type Dim, known, sizeOf } from "../ir/dim.ts";
import { isInteger } from "../ir/dtype.ts";
import { dimsOf, dtypeOf, type Node } from "../ir/node.ts";
import { typeText } from "../ir/type.ts";
import * as build from "../ops/build.ts";
import { scatterReduce } from "../ops/scattering.ts";
import { axisOf, broadcastDims, broadcastTo, numberNode, type Operand, result } from "./operand.ts";
import { Tensor } from "./tensor.ts";

/** What an index outside of its axis means: NaN (0 for integers) when read and nothing when written, the nearest inside, or
 *  counting round and round, so that −1 is the last. */
export type Outside = "fill" | "clip" | "wrap";

/** The axis, and what an index outside of it means. */
export interface TakeOptions {
  readonly outside?: Outside;
}

/** How what is there and the updates become one, in the order of the updates. */
export type PutMode = "set" | "add" | "mul" | "max" | "min";

/** Those of `take`, and what happens to what is there. */
export interface PutOptions extends TakeOptions {
  readonly mode?: PutMode;
}

/** The row-major position of indices in axes of the given sizes, or −1 where one is outside. Those that are no one's choice are
 *  inside. */
function position(
  indices: readonly Node[],
  sizes: readonly number[],
  outside: Outside,
  isChosen: (axis: number) => boolean = () => true,
): Node {
  const like = (value: number): Node => build.constantLike(indices[0] as Node, value);
  let sum: Node | undefined;
  let inside: Node | undefined;
  let stride = sizes.reduce((n, d) => n * d, 1);
  indices.forEach((given, axis) => {
    const size = sizes[axis] as number;
    stride /= Math.max(size, 1);
    let index = given;
    if (isChosen(axis)) {
      if (outside === "clip") index = build.max(build.min(given, like(size - 1)), like(0));
      else if (outside === "wrap") index = build.mod(given, like(size));
      else {
        const within = build.and(build.not(build.lt(given, like(0))), build.lt(given, like(size)));
        inside = inside ? build.and(inside, within) : within;
      }
    }
    const term = stride === 1 ? index : build.mul(index, like(stride));
    sum = sum ? build.add(sum, term) : term;
  });
  return inside ? build.where(inside, sum as Node, like(-1)) : (sum as Node);
}

function checkOutside(op: string, outside: Outside): void {
  if (outside !== "fill" && outside !== "clip" && outside !== "wrap")
    throw new ArgumentError(`${op}: expected outside to be "fill", "clip" or "wrap", got ${JSON.stringify(outside)}`);
}

function indexNode(op: string, indices: Tensor): Node {
  if (!isInteger(indices.dtype))
    throw new DTypeError(`${op}: expected indices of an integer dtype, got ${typeText(indices.type)}`);
  return build.cast(build.asIndices(indices.node), "i32");
}

const knownSizes = (op: string, dims: readonly Dim[]): number[] => dims.map((d) => known(d, op));

interface Places {
  /** x with the indexed axes as one, in front. */
  readonly flat: Node;
  /** Places in that axis. */
  readonly at: Node;
}

/** One index an element along an axis. */
function placesAlong(op: string, x: Tensor, indices: Tensor, axis: number, outside: Outside): Places {
  checkOutside(op, outside);
  const a = axisOf(op, x.rank, axis);
  const given = indexNode(op, indices);
  if (indices.rank !== x.rank)
    throw new ShapeError(
      `${op}: expected indices of ${x.rank} axes for ${typeText(x.type)}, got ${typeText(indices.type)}`,
    );
  const dims = x.dims.map((d, i) => (i === a ? (dimsOf(given)[a] as Dim) : d));
  broadcastDims(op, [dimsOf(given), dims]);
  const all = x.dims.map((_, i) => (i === a ? broadcastTo(given, dims) : build.iota("i32", dims, i)));
  const at = position(all, knownSizes(op, x.dims), outside, (i) => i === a);
  return { flat: build.reshape(x.node, [sizeOf(x.dims)]), at };
}

/** Tuples of indices of the first axes. */
function placesAt(op: string, x: Tensor, indices: readonly Tensor[], outside: Outside): Places {
  checkOutside(op, outside);
  const count = indices.length;
  if (count === 0 || count > x.rank)
    throw new ShapeError(`${op}: expected 1 to ${x.rank} indices for ${typeText(x.type)}, got ${count}`);
  const given = indices.map((i) => indexNode(op, i));
  const dims = broadcastDims(
    op,
    given.map((i) => dimsOf(i)),
  );
  const sizes = knownSizes(op, x.dims.slice(0, count));
  const at = position(
    given.map((i) => broadcastTo(i, dims)),
    sizes,
    outside,
  );
  return { flat: build.reshape(x.node, [sizes.reduce((n, d) => n * d, 1), ...x.dims.slice(count)]), at };
}

function put(op: string, { flat, at }: Places, updates: Operand, mode: PutMode): Node {
  const dims = [...dimsOf(at), ...dimsOf(flat).slice(1)];
  const given = updates instanceof Tensor ? updates.node : numberNode(updates, dtypeOf(flat));
  broadcastDims(op, [dimsOf(given), dims]);
  const all = broadcastTo(given, dims);
  switch (mode) {
    case "set":
    case "add":
      return build.scatter(flat, at, all, 0, mode);
    case "mul":
      return scatterReduce("prod", flat, at, all, 0);
    case "max":
    case "min":
      return scatterReduce(mode, flat, at, all, 0);
    default:
      mode satisfies never;
      throw new ArgumentError(`${op}: expected mode to be set, add, mul, max or min, got ${JSON.stringify(mode)}`);
  }
}

/** For each element of `indices` the element of x at that index of the axis, its other indices the same: PyTorch's `gather`.
 *  @param indices  of an integer dtype, of the rank of x; its other axes broadcast to those of x
 *  @throws ShapeError, DTypeError
 *  @example await takeAlongAxis(tensor([[1, 2], [3, 4]]), tensor([[1], [0]], { dtype: "i32" }), 1).data()   // → [2, 3] */
export const takeAlongAxis = (
  x: Tensor,
  indices: Tensor,
  axis: number,
  { outside = "fill" }: TakeOptions = {},
): Tensor =>
  result(() => {
    const { flat, at } = placesAlong("takeAlongAxis", x, indices, axis, outside);
    return build.gather(flat, at, 0);
  });

/** x with updates written where `takeAlongAxis` would read: PyTorch's `scatter` and `scatter_reduce`. The last of several `set` in
 *  one place stays, and alone gets a gradient; ties of `max` and `min` share it.
 *  @param updates  broadcasts to the places */
export const putAlongAxis = (
  x: Tensor,
  indices: Tensor,
  updates: Operand,
  axis: number,
  { mode = "set", outside = "fill" }: PutOptions = {},
): Tensor =>
  result(() => {
    const places = placesAlong("putAlongAxis", x, indices, axis, outside);
    return build.reshape(put("putAlongAxis", places, updates, mode), x.dims);
  });

/** x at tuples of indices of its first axes, NumPy's `x[i, j]`: `[...indices' common dims, ...x's further dims]`.
 *  @throws ShapeError, DTypeError
 *  @example await takeAt(tensor([[1, 2], [3, 4]]), [tensor([1, 0], { dtype: "i32" }), tensor([1, 1], { dtype: "i32" })]).data()   // → [4, 2] */
export const takeAt = (x: Tensor, indices: readonly Tensor[], { outside = "fill" }: TakeOptions = {}): Tensor =>
  result(() => {
    const { flat, at } = placesAt("takeAt", x, indices, outside);
    return build.gather(flat, at, 0);
  });

/** x with updates written where `takeAt` would read: PyTorch's `index_put`. Else as `putAlongAxis`. */
export const putAt = (
  x: Tensor,
  indices: readonly Tensor[],
  updates: Operand,
  { mode = "set", outside = "fill" }: PutOptions = {},
): Tensor => result(() => build.reshape(put("putAt", placesAt("putAt", x, indices, outside), updates, mode), x.dims));

/** For each value the position (i32) at which it would enter a sorted vector: before equal ones, or with `right` behind them. NaN
 *  comes last.
 *  @param sorted  [n], ascending
 *  @example await searchSorted(tensor([1, 3, 3, 5]), tensor([3, 9])).data()   // → [1, 4] */
export const searchSorted = (
  sorted: Tensor,
  values: Tensor,
  { right = false }: { readonly right?: boolean } = {},
): Tensor =>
  result(() => {
    if (sorted.rank !== 1) throw new ShapeError(`searchSorted: expected a vector, got ${typeText(sorted.type)}`);
    const n = known(sorted.dims[0] as Dim, "searchSorted");
    const v = values.node;
    const isNaN = (x: Node): Node => build.not(build.eq(x, x));
    const before = (a: Node, b: Node): Node => build.or(build.lt(a, b), build.and(isNaN(b), build.not(isNaN(a))));
    const like = (value: number): Node => build.fill(build.scalar(value, "i32"), dimsOf(v));
    // Binary search by falling powers of two: all before `low` enter before the value.
    let low = like(0);
    for (let step = 2 ** Math.floor(Math.log2(Math.max(n, 1))); step >= 1; step /= 2) {
      const next = build.add(low, like(step));
      const last = build.gather(sorted.node, build.sub(next, like(1)), 0);
      const passed = right ? build.not(before(v, last)) : before(last, v);
      low = build.where(build.and(build.lt(next, like(n + 1)), passed), next, low);
    }
    return low;
  });
