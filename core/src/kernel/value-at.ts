/** The value of a node of a fusion group at symbolic indices, as one expression of the kernel: an index goes through movements to the
 *  operands, and what is element-wise is made of their values there. */
import { VerifyError } from "../errors.ts";
import { known } from "../ir/dim.ts";
import { byteDims, carrierOf, type DType, isBlock, isFloat, roundTo } from "../ir/dtype.ts";
import { type Attrs, dtypeOf, type Node, type NodeOf, type Op, tensorTypeOf } from "../ir/node.ts";
import { currentScope, remake } from "../ir/scope.ts";
import { add, build, cast, lt, mul, scalar, where, xor } from "../ops/build.ts";
import { freeAxes } from "../ops/contraction.ts";
import { allOf, betweenIndex, constIndex, flattenIndex, knownDims } from "../ops/indexing.ts";
import { define } from "../ops/table.ts";
import { threefry2x32 } from "./math/threefry.ts";

/** A value that is wanted: a node of the group, at indices, where the mask holds (elsewhere it may be anything). */
export interface Wanted {
  readonly node: Node;
  readonly at: readonly Node[];
  readonly mask: Node | undefined;
}

/** How a value is made: asks for others, returns the scalar node of the kernel. A generator, so that a chain of any length
 *  needs no stack. */
export type Making = Generator<Wanted, Node, Node>;

/** A range of a loop; the index 0 where it has one iteration. */
export type NewRange = (extent: number, kind: "loop" | "reduce") => Node;

/** How an op that no case below knows makes its value at indices. */
export type LowerValue<O extends Op> = (
  y: NodeOf<O>,
  at: readonly Node[],
  mask: Node | undefined,
  newRange: NewRange,
) => Making;

export interface Context {
  readonly params: ReadonlyMap<Node, Node>;
  readonly newRange: NewRange;
  /** Values that are in memory already. */
  readonly kept?: ReadonlyMap<Node, (at: readonly Node[]) => Node>;
}

export type ValueAt = (node: Node, at: readonly Node[]) => Node;

/** Makes each value (node, indices, mask) once. */
export function evaluator(context: Context): ValueAt {
  const made = new Map<Node, Map<string, Node>>();
  const known = (node: Node): Map<string, Node> => {
    let values = made.get(node);
    if (!values) made.set(node, (values = new Map()));
    return values;
  };
  const keyOf = ({ at, mask }: Wanted): string => `${at.map((n) => n.id).join(" ")} ${mask?.id ?? ""}`;
  return (root, indices) => {
    const stack: { readonly wanted: Wanted; readonly key: string; readonly making: Making }[] = [];
    let answer: Node | undefined;
    const want = (wanted: Wanted): void => {
      const key = keyOf(wanted);
      answer = known(wanted.node).get(key);
      if (!answer) stack.push({ wanted, key, making: make(wanted, context) });
    };
    want({ node: root, at: indices, mask: undefined });
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      // The first `next` of a generator ignores its argument.
      const step = top.making.next(answer as Node);
      if (step.done) {
        stack.pop();
        known(top.wanted.node).set(top.key, step.value);
        answer = step.value;
      } else want(step.value);
    }
    return answer as Node;
  };
}

const constant = (value: number, dtype: DType): Node => scalar(roundTo(dtype, value), dtype);

function* make({ node, at, mask }: Wanted, context: Context): Making {
  const kept = context.kept?.get(node);
  if (kept) return kept(at);
  switch (node.op) {
    case "const":
      return constant(node.attr.value, node.attr.dtype);
    case "param":
      return parameter(node, at, mask, context);
    case "iota":
      return cast(at[node.attr.axis] as Node, node.attr.dtype);
    case "random":
      return yield* random(node, at, mask);
    case "stopGradient":
    case "alias":
    case "assign":
      return yield { node: unmarked(node), at, mask };
    case "pad": {
      const { at: inner, inside, otherwise = 0 } = place(node, at, 0);
      const value = yield { node: node.src[0] as Node, at: inner, mask: allOf([mask, inside]) };
      return inside ? where(inside, value, constant(otherwise, dtypeOf(node))) : value;
    }
    case "concat":
      return yield* concatenation(node, at, mask);
    case "reshape":
    case "permute":
    case "expand":
    case "slice":
    case "flip":
      return yield { node: node.src[0] as Node, at: place(node, at, 0).at, mask };
    case "gather":
      return yield* gathered(node, at, mask);
    case "reduce": {
      const { kind, axes } = node.attr;
      const dims = knownDims(node.src[0] as Node);
      const ranges = axes.map((a) => context.newRange(dims[a] as number, "reduce"));
      let next = 0;
      const inner = dims.map((_, a) => (axes.includes(a) ? (ranges[axes.indexOf(a)] as Node) : (at[next++] as Node)));
      const value = yield { node: node.src[0] as Node, at: inner, mask };
      return accumulated({ kind }, value, ranges);
    }
    case "dot":
      return yield* product(node, at, mask, context);
    default: {
      const entry = define<Op>(node.op);
      if (entry.lower) return yield* entry.lower(node, at, mask, context.newRange);
      if (entry.role !== "elementwise") return unsupported(node);
    }
  }
  const values: Node[] = [];
  for (const s of node.src) values.push(yield { node: s, at, mask });
  return remake(currentScope(), node, values);
}

function unsupported(node: Node): never {
  throw new VerifyError(`lower: ${node.op} cannot stand here in a fusion group`, {
    hint:
      define<Op>(node.op).fusion === "sink"
        ? "it must be a result of its group"
        : "the fuse pass keeps it outside of groups",
  });
}

type MovementOp = "reshape" | "permute" | "expand" | "pad" | "slice" | "flip" | "concat";

function place<O extends MovementOp>(node: NodeOf<O>, at: readonly Node[], part: number) {
  const entry = define<O>(node.op);
  return entry.role === "movement" ? entry.index(at, node, part) : unsupported(node as unknown as Node);
}

function parameter(node: Node, at: readonly Node[], mask: Node | undefined, { params }: Context): Node {
  const param = params.get(node);
  if (!param) throw new VerifyError(`lower: a parameter of another function is used in a group`);
  if (isHostScalar(node)) return param;
  const dims = isBlock(dtypeOf(node)) ? byteDims(dtypeOf(node), knownDims(node)) : knownDims(node);
  return build("load", [param, flattenIndex(at, dims), ...(mask ? [mask] : [])], {});
}

function accumulated(attr: Attrs["accumulate"], value: Node, ranges: readonly Node[]): Node {
  const long = ranges.filter((r) => r.op === "range");
  return long.length === 0 ? value : build("accumulate", [value, ...long], attr);
}

function* concatenation(node: NodeOf<"concat">, at: readonly Node[], mask: Node | undefined): Making {
  let value: Node | undefined;
  for (let part = node.src.length - 1; part >= 0; part--) {
    const source = node.src[part] as Node;
    if (knownDims(source)[node.attr.axis] === 0) continue;
    const { at: inner, inside } = place(node, at, part);
    const own = yield { node: source, at: inner, mask: allOf([mask, inside]) };
    value = value && inside ? where(inside, own, value) : own;
  }
  return value ?? constant(0, dtypeOf(node));
}

/** `x` at the index that was loaded; outside of x NaN, or 0 where the dtype has none. */
function* gathered(node: NodeOf<"gather">, at: readonly Node[], mask: Node | undefined): Making {
  const [x, indices] = node.src as [Node, Node];
  const { axis } = node.attr;
  const rank = knownDims(indices).length;
  const index = cast(yield { node: indices, at: at.slice(axis, axis + rank), mask }, "i32");
  const inside = betweenIndex(index, knownDims(x)[axis] as number);
  const value = yield {
    node: x,
    at: [...at.slice(0, axis), index, ...at.slice(axis + rank)],
    mask: allOf([mask, inside]),
  };
  return inside ? where(inside, value, constant(isFloat(dtypeOf(x)) ? Number.NaN : 0, dtypeOf(x))) : value;
}

/** The result's indices are batch, free of a, free of b; the contracted axes are ranges, in the order in which they are named. */
function* product(node: NodeOf<"dot">, at: readonly Node[], mask: Node | undefined, context: Context): Making {
  const [a, b] = node.src as [Node, Node];
  const { contract, batch } = node.attr;
  const free = freeAxes(node);
  const extents = contract[0].map((axis) => knownDims(a)[axis] as number);
  const ranges = extents.map((extent) => context.newRange(extent, "reduce"));
  const side = (which: 0 | 1, rank: number): Node[] => {
    const from = batch[0].length + (which === 1 ? free[0].length : 0);
    const inner: Node[] = Array.from({ length: rank });
    batch[which].forEach((axis, i) => (inner[axis] = at[i] as Node));
    free[which].forEach((axis, i) => (inner[axis] = at[from + i] as Node));
    contract[which].forEach((axis, i) => (inner[axis] = ranges[i] as Node));
    return inner;
  };
  const x = yield { node: a, at: side(0, knownDims(a).length), mask };
  const w = yield { node: b, at: side(1, knownDims(b).length), mask };
  const dtype = dtypeOf(node);
  const wide = (factor: Node): Node => cast(factor, carrierOf(dtype));
  return cast(accumulated({ kind: "sum", product: true }, mul(wide(x), wide(w)), ranges), dtype);
}

/** Element i has the 64-bit counter offset + i, its high word the carry. */
function* random(node: NodeOf<"random">, at: readonly Node[], mask: Node | undefined): Making {
  const [key, offset] = node.src as [Node, Node];
  const many = knownDims(key).length - 1;
  const which = at.slice(0, many);
  const k0 = yield { node: key, at: [...which, constIndex(0)], mask };
  const k1 = yield { node: key, at: [...which, constIndex(1)], mask };
  const start = yield { node: offset, at: knownDims(offset).length === 0 ? [] : which, mask };
  const dims = node.attr.dims.map((d) => known(d, "random"));
  const flat = flattenIndex(at.slice(many, many + dims.length), dims);
  const low = add(start, cast(flat, "u32"));
  const [y0, y1] = threefry2x32(k0, k1, cast(lt(low, start), "u32"), low);
  if (node.attr.words === 1) return xor(y0, y1);
  return where(lt(at[many + dims.length] as Node, constIndex(1)), y0, y1);
}

/** The node under marks, which are nothing at this level. */
export function unmarked(node: Node): Node {
  let n = node;
  for (;;) {
    if (n.op === "stopGradient" || n.op === "alias") n = n.src[0] as Node;
    else if (n.op === "assign") n = n.src[1] as Node;
    else return n;
  }
}

/** Whether a parameter is a number of the host's, which a kernel is given by value. */
export const isHostScalar = (p: Node): boolean => {
  const { dims, space } = tensorTypeOf(p);
  return space === "host" && dims.length === 0;
};
