/** The builders of nodes: one function an op, in the current scope. Derivative rules, passes and the tensor library are
 *  written with these; shapes are already equal here, broadcasting is explicit. */
import type { Dim } from "../ir/dim.ts";
import { dimsEqual } from "../ir/dim.ts";
import { carrierOf, type DType, isFloat, isInteger } from "../ir/dtype.ts";
import type { Fn } from "../ir/fn.ts";
import { type Attrs, dimsOf, dtypeOf, type Node, type NodeOf, type Op, type ReduceKind } from "../ir/node.ts";
import { currentScope } from "../ir/scope.ts";

const none = Object.freeze({});

export const build = <O extends Op>(op: O, src: readonly Node[], attr: Attrs[O]): NodeOf<O> =>
  currentScope().make(op, src, attr);

/** Element-wise ops of one value. */
export type Unary =
  | "neg"
  | "abs"
  | "sign"
  | "sqrt"
  | "rsqrt"
  | "exp"
  | "log"
  | "sin"
  | "cos"
  | "tanh"
  | "erf"
  | "floor"
  | "round"
  | "not";
/** Of two. */
export type Binary =
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "idiv"
  | "mod"
  | "pow"
  | "max"
  | "min"
  | "lt"
  | "eq"
  | "and"
  | "or"
  | "xor"
  | "shl"
  | "shr";

const unary = (op: Unary) => (x: Node) => build(op, [x], none);
const binary = (op: Binary) => (a: Node, b: Node) => build(op, [a, b], none);

export const neg = unary("neg");
export const abs = unary("abs");
export const sign = unary("sign");
export const sqrt = unary("sqrt");
export const rsqrt = unary("rsqrt");
export const exp = unary("exp");
export const log = unary("log");
export const sin = unary("sin");
export const cos = unary("cos");
export const tanh = unary("tanh");
export const erf = unary("erf");
export const floor = unary("floor");
export const round = unary("round");
export const not = unary("not");

export const add = binary("add");
export const sub = binary("sub");
export const mul = binary("mul");
export const div = binary("div");
export const idiv = binary("idiv");
export const mod = binary("mod");
export const pow = binary("pow");
export const max = binary("max");
export const min = binary("min");
export const lt = binary("lt");
export const eq = binary("eq");
export const and = binary("and");
export const or = binary("or");
export const xor = binary("xor");
export const shl = binary("shl");
export const shr = binary("shr");

export const where = (condition: Node, a: Node, b: Node): Node => build("where", [condition, a, b], none);
export const cast = (x: Node, dtype: DType): Node => (dtypeOf(x) === dtype ? x : build("cast", [x], { dtype }));
export const bitcast = (x: Node, dtype: DType): Node => build("bitcast", [x], { dtype });

export const reshape = (x: Node, dims: readonly Dim[]): Node =>
  dimsEqual(dimsOf(x), dims) ? x : build("reshape", [x], { dims });
export const permute = (x: Node, axes: readonly number[]): Node =>
  axes.every((a, i) => a === i) ? x : build("permute", [x], { axes });
export const expand = (x: Node, dims: readonly Dim[]): Node =>
  dimsEqual(dimsOf(x), dims) ? x : build("expand", [x], { dims });
export const pad = (x: Node, low: readonly Dim[], high: readonly Dim[], value = 0): Node =>
  build("pad", [x], { low, high, value });
export const slice = (
  x: Node,
  start: readonly Dim[],
  size: readonly Dim[],
  step: readonly number[] = start.map(() => 1),
): Node => build("slice", [x], { start, size, step });
export const flip = (x: Node, axes: readonly number[]): Node => build("flip", [x], { axes });
export const concat = (parts: readonly Node[], axis: number): Node => build("concat", parts, { axis });

export const reduce = (kind: ReduceKind, x: Node, axes: readonly number[]): Node =>
  axes.length === 0 ? x : build("reduce", [x], { kind, axes: [...axes].sort((a, b) => a - b) });
export const dot = (a: Node, b: Node, attr: Attrs["dot"]): Node => build("dot", [a, b], attr);
/** Indices of any integer dtype in 32 bits; what an i64 has beyond them stays outside of any axis. */
export function asIndices(x: Node): Node {
  const dtype = dtypeOf(x);
  if (dtype === "i64") return cast(min(max(x, constantLike(x, -(2 ** 31))), constantLike(x, 2 ** 31 - 1)), "i32");
  return isInteger(dtype) && dtype !== "u32" ? cast(x, "i32") : x;
}
export const gather = (x: Node, indices: Node, axis: number): Node =>
  build("gather", [x, asIndices(indices)], { axis });
/** Sums of f16 and bf16 are taken in f32 and rounded once. */
export function scatter(x: Node, indices: Node, updates: Node, axis: number, mode: "add" | "set"): Node {
  const dtype = dtypeOf(x);
  const wide = mode === "add" && isFloat(dtype) ? carrierOf(dtype) : dtype;
  return cast(build("scatter", [cast(x, wide), asIndices(indices), cast(updates, wide)], { axis, mode }), dtype);
}

export const iota = (dtype: DType, dims: readonly Dim[], axis: number): Node =>
  build("iota", [], { dtype, dims, axis });
export const random = (key: Node, offset: Node, dims: readonly Dim[], words: 1 | 2 = 1): Node =>
  build("random", [key, offset], { dims, words });
export const stopGradient = (x: Node): Node => build("stopGradient", [x], none);
export const assign = (target: Node, value: Node): Node => build("assign", [target, value], none);
export const call = (fn: Fn, args: readonly Node[]): Node => build("call", args, { fn });
export const item = (x: Node, index: number): Node => build("item", [x], { index });

/** A scalar constant. */
export const scalar = (value: number, dtype: DType): Node => build("const", [], { value, dtype });

/** A scalar node repeated to the given dims. */
export const fill = (x: Node, dims: readonly Dim[]): Node =>
  dims.length === 0
    ? x
    : expand(
        reshape(
          x,
          dims.map(() => 1),
        ),
        dims,
      );

/** A constant of the dtype and dims of `like`. */
export const constantLike = (like: Node, value: number): Node => fill(scalar(value, dtypeOf(like)), dimsOf(like));
export const zerosLike = (like: Node): Node => constantLike(like, 0);

/** The sum over `axes`, kept as dimensions of 1. */
export const reduceKeep = (kind: ReduceKind, x: Node, axes: readonly number[]): Node =>
  reshape(
    reduce(kind, x, axes),
    dimsOf(x).map((d, i) => (axes.includes(i) ? 1 : d)),
  );
