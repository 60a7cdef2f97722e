/** From what the caller wrote to nodes of equal dtype and shape: JavaScript numbers become weakly typed scalars, dtypes are
 *  promoted by the table of `dtypes.ts`, shapes broadcast as NumPy's do. */
import { ArgumentError, ShapeError } from "../errors.ts";
import { type Dim, dimEqual, dimsEqual } from "../ir/dim.ts";
import { type DType, isFloat, isFull, roundTo } from "../ir/dtype.ts";
import { dimsOf, dtypeOf, isHost, type Node } from "../ir/node.ts";
import { currentScope } from "../ir/scope.ts";
import { atOneLine, located } from "../ir/site.ts";
import { tensorType, typeText } from "../ir/type.ts";
import { cast, expand, reshape, scalar } from "../ops/build.ts";
import { promote, promoteNumber } from "./dtypes.ts";
import { lazyScope, leaf } from "./pending.ts";
import { captures, Tensor } from "./tensor.ts";

/** A tensor, or a number or boolean that becomes one. */
export type Operand = Tensor | number | boolean;

/** A JavaScript number as a scalar node: a parameter of the step where it is pending, a constant where it is traced. */
export function numberNode(value: number | boolean, dtype: DType): Node {
  const x = roundTo(dtype, Number(value));
  if (currentScope() !== lazyScope || !isFull(dtype) || dtype === "bool") return scalar(x, dtype);
  return leaf(tensorType(dtype, [], "host"), x);
}

const check = (op: string, x: Operand): void => {
  if (!(x instanceof Tensor) && typeof x !== "number" && typeof x !== "boolean")
    throw new ArgumentError(`${op}: expected a tensor or a number, got ${x === null ? "null" : typeof x}`);
};

/** The node of one operand alone. */
export function nodeOf(op: string, x: Operand): Node {
  check(op, x);
  if (x instanceof Tensor) return x.node;
  return numberNode(x, typeof x === "boolean" ? "bool" : "f32");
}

/** The common dims of several shapes, aligned at the last axis.
 *  @throws ShapeError */
export function broadcastDims(op: string, shapes: readonly (readonly Dim[])[]): readonly Dim[] {
  const rank = Math.max(0, ...shapes.map((s) => s.length));
  return Array.from({ length: rank }, (_, a) => {
    let size: Dim = 1;
    for (const s of shapes) {
      const d = s[a - rank + s.length] ?? 1;
      if (d === 1 || dimEqual(d, size)) continue;
      if (size !== 1)
        throw new ShapeError(
          `${op}: shapes ${shapes.map((t) => typeText(tensorType("f32", t)).slice(3)).join(" and ")} do not broadcast`,
          {
            hint: `aligned at the last axis, sizes must be equal or 1`,
          },
        );
      size = d;
    }
    return size;
  });
}

/** A node repeated to dims that its own broadcast to. */
export function broadcastTo(x: Node, dims: readonly Dim[]): Node {
  const own = dimsOf(x);
  if (dimsEqual(own, dims)) return x;
  const missing = dims.length - own.length;
  return expand(reshape(x, [...Array.from({ length: missing }, () => 1), ...own]), dims);
}

/** A number that is traced: a scalar in host space. It has no dtype of its own. */
const isWeak = (x: Operand): boolean => x instanceof Tensor && x.type.space === "host";

/** The node in a dtype; a traced number is rounded only to that one. */
function inDType(x: Node, dtype: DType): Node {
  const scope = currentScope();
  const traced = x.op === "param" && isHost(x);
  return traced && dtype === "f64" && captures(scope) ? scope.wide(x) : cast(x, dtype);
}

/** The nodes of operands that meet in an element-wise op: one dtype, one shape. */
export function meet(op: string, operands: readonly Operand[]): Node[] {
  for (const x of operands) check(op, x);
  let dtype: DType | undefined;
  for (const x of operands) if (x instanceof Tensor && !isWeak(x)) dtype = dtype ? promote(dtype, x.dtype) : x.dtype;
  for (const x of operands) {
    if (isWeak(x)) dtype = dtype && isFloat(dtype) ? dtype : "f32";
    else if (!(x instanceof Tensor)) dtype = dtype ? promoteNumber(dtype, x) : typeof x === "boolean" ? "bool" : "f32";
  }
  const common = dtype ?? "f32";
  const nodes = operands.map((x) => (x instanceof Tensor ? inDType(x.node, common) : numberNode(x, common)));
  const dims = broadcastDims(
    op,
    nodes.map((n) => dimsOf(n)),
  );
  return nodes.map((n) => broadcastTo(n, dims));
}

/** The operands met, for functions that are composed of others. */
export const metTensors = (op: string, operands: readonly Operand[]): Tensor[] =>
  located(() => meet(op, operands).map((n) => new Tensor(n)));

/** The operand in a float dtype, as division, exp and their like need. */
export function floatNode(op: string, x: Operand): Node {
  const node = nodeOf(op, x);
  return isFloat(dtypeOf(node)) ? node : cast(node, "f32");
}

/** The result of an operation as a tensor. */
export const result = (body: () => Node): Tensor => new Tensor(located(() => atOneLine(body)));

/** Axes counted from the end made plain, each checked, ascending; all of them where none is named.
 *  @throws ShapeError */
export function axesOf(op: string, rank: number, axes: number | readonly number[] | null | undefined): number[] {
  if (axes === undefined || axes === null) return Array.from({ length: rank }, (_, a) => a);
  const plain = (typeof axes === "number" ? [axes] : axes).map((a) => axisOf(op, rank, a));
  if (new Set(plain).size !== plain.length) throw new ShapeError(`${op}: an axis is named twice in [${String(axes)}]`);
  return plain.sort((a, b) => a - b);
}

export function axisOf(op: string, rank: number, axis: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank)
    throw new ShapeError(`${op}: expected an axis in ${-rank}..${rank - 1}, got ${axis}`, {
      hint: rank === 0 ? "the tensor is a scalar" : undefined,
    });
  return axis < 0 ? axis + rank : axis;
}
