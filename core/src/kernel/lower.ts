/** From a fusion group to a kernel that nobody has scheduled yet: one nest of loops for the results that share their
 *  ranges, every value an expression of symbolic indices. Nothing is stored between operations.
 *
 *    %s = reduce sum(mul(%x, %x)) {1}    →    for m: out[m] = accumulate sum(x[8·m + k] · x[8·m + k]) over k
 */
import { VerifyError } from "../errors.ts";
import { known, sizeOf } from "../ir/dim.ts";
import { byteDims, byteSize, carrierOf, type DType, isBlock, isFloat, roundTo } from "../ir/dtype.ts";
import { type Fn, topological } from "../ir/fn.ts";
import { type Attrs, dtypeOf, type Node, type NodeOf, type Op, tensorTypeOf } from "../ir/node.ts";
import { currentScope, remake, within } from "../ir/scope.ts";
import { tensorType } from "../ir/type.ts";
import { add, build, cast, lt, mul, scalar, where, xor } from "../ops/build.ts";
import { freeAxes } from "../ops/contraction.ts";
import { allOf, betweenIndex, constIndex, flattenIndex, knownDims } from "../ops/indexing.ts";
import { define, newScope } from "../ops/table.ts";
import { carried } from "./narrow.ts";
import { type Item, makeKernel, makeNest, makeRange, type NestNode } from "./nests.ts";
import { rowFusion } from "./row-fusion.ts";
import { threefry2x32 } from "./threefry.ts";

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

/** What a sink writes its nests with. */
export interface SinkTools {
  /** The flat buffer of the result. */
  readonly out: Node;
  readonly newRange: NewRange;
  /** A value of the group at indices. */
  readonly valueAt: ValueAt;
  /** Memory of the kernel's own, `count` elements that nothing has written yet. */
  readonly newScratch: (dtype: DType, count: number) => Node;
}

/** The nests of a sink, which run in turn. */
export type LowerNests<O extends Op> = (y: NodeOf<O>, tools: SinkTools) => NestNode[];

/** What a sink of several results writes its nests and loops with. */
export interface ItemTools extends Omit<SinkTools, "out"> {
  /** The flat buffer of each result; undefined for one that nobody wants. */
  readonly outs: readonly (Node | undefined)[];
  /** A range for a loop around nests. */
  readonly newOuter: (extent: number) => Node;
}

/** The nests and loops of a sink of several results, which run in turn. */
export type LowerItems<O extends Op> = (y: NodeOf<O>, tools: ItemTools) => Item[];

interface Context {
  readonly params: ReadonlyMap<Node, Node>;
  readonly newRange: NewRange;
  /** Values that are in memory already. */
  readonly kept?: ReadonlyMap<Node, (at: readonly Node[]) => Node>;
}

/** The kernel of a group: parameters are the group's buffers, one flat buffer a result, then the host scalars.
 *  @throws VerifyError for an op that does not belong into a group; ShapeError for a dimension without a value */
export function lower(whole: Fn): Fn {
  const fusion = rowFusion();
  const rows = fusion?.rowsOf(whole);
  const group = rows?.fn ?? whole;
  return within(newScope(), () => {
    const params = kernelParams(group);
    let nextRange = 0;
    const newRange: Context["newRange"] = (extent, kind) =>
      extent === 1 ? constIndex(0) : makeRange(nextRange++, extent, kind);
    if (fusion && rows) {
      const items = fusion.lower(rows, {
        outputs: params.outputs,
        newRange,
        evaluator: (kept) => evaluator({ params: params.inputs, newRange, kept }),
        nextId: () => nextRange++,
      });
      return carried(makeKernel(group.name, params.all, items));
    }
    const valueAt = evaluator({ params: params.inputs, newRange });
    const nests: NestNode[] = [];
    let nextScratch = 0;
    const newScratch: SinkTools["newScratch"] = (dtype, count) =>
      build("scratch", [], { id: nextScratch++, type: tensorType(dtype, [count]) });
    const tuple = group.results[0]?.op === "item" ? (group.results[0].src[0] as Node) : undefined;
    const { lowerItems } = tuple ? define<Op>(tuple.op) : {};
    if (tuple && lowerItems) {
      const outs: (Node | undefined)[] = [];
      group.results.forEach((r, i) => {
        if (r.op === "item") outs[r.attr.index] = params.outputs[i];
      });
      const newOuter: ItemTools["newOuter"] = (extent) => makeRange(nextRange++, extent, "outer");
      const items = lowerItems(tuple, { outs, newRange, newOuter, valueAt, newScratch });
      return carried(makeKernel(group.name, params.all, items));
    }
    const shared = new Map<string, { readonly ranges: readonly Node[]; readonly stores: Node[] }>();
    group.results.forEach((result, i) => {
      // Its memory may be another's: nothing may be written, not even what starts a row.
      if (knownDims(result).includes(0)) return;
      const out = params.outputs[i] as Node;
      const root = unmarked(result);
      if (root.op === "scatter") {
        nests.push(...scatterNests(root, { out, newRange, valueAt }, scattered(root.attr.mode)));
        return;
      }
      const { lowerNests } = define<Op>(root.op);
      if (lowerNests) {
        nests.push(...lowerNests(root, { out, newRange, valueAt, newScratch }));
        return;
      }
      const row = root.op === "put" ? root : undefined;
      const value = row ? (row.src[0] as Node) : root;
      const dims = knownDims(value);
      const long = dims.filter((d) => d !== 1);
      const key = long.join(" ");
      let loops = shared.get(key);
      if (!loops) {
        loops = { ranges: long.map((d) => newRange(d, "loop")), stores: [] };
        shared.set(key, loops);
      }
      const at = spread(loops.ranges, dims);
      const position = row
        ? flattenIndex([valueAt(row.src[1] as Node, []), ...at], [row.attr.length, ...dims])
        : flattenIndex(at, dims);
      loops.stores.push(build("store", [out, position, valueAt(value, at)], {}));
    });
    for (const { ranges, stores } of shared.values()) nests.push(makeNest(stores, idsOf(ranges)));
    return carried(makeKernel(group.name, params.all, nests));
  });
}

/** Indices for dims from the ranges of those that are not 1. */
function spread(ranges: readonly Node[], dims: readonly number[]): Node[] {
  let next = 0;
  return dims.map((d) => (d === 1 ? constIndex(0) : (ranges[next++] as Node)));
}

const idsOf = (ranges: readonly Node[]): number[] => ranges.flatMap((r) => (r.op === "range" ? [r.attr.id] : []));

const isHostScalar = (p: Node): boolean => {
  const { dims, space } = tensorTypeOf(p);
  return space === "host" && dims.length === 0;
};

function kernelParams(group: Fn) {
  const inputs = new Map<Node, Node>();
  const all: NodeOf<"param">[] = [];
  const push = (name: string, dtype: DType, count: number | "host"): Node => {
    const flat = (n: number) => (isBlock(dtype) ? tensorType("u8", [byteSize(dtype, n)]) : tensorType(dtype, [n]));
    const type = count === "host" ? tensorType(dtype, [], "host") : flat(count);
    const param = build("param", [], { index: all.length, name, type });
    all.push(param);
    return param;
  };
  const count = (n: Node): number => known(sizeOf(tensorTypeOf(n).dims), group.name);
  for (const p of group.params) if (!isHostScalar(p)) inputs.set(p, push(p.attr.name, dtypeOf(p), count(p)));
  const outputs = group.results.map((r, i) => push(`out${i}`, dtypeOf(r), count(r)));
  for (const p of group.params) if (isHostScalar(p)) inputs.set(p, push(p.attr.name, dtypeOf(p), "host"));
  return { all, inputs, outputs };
}

/** The node under marks, which are nothing at this level. */
function unmarked(node: Node): Node {
  let n = node;
  for (;;) {
    if (n.op === "stopGradient" || n.op === "alias") n = n.src[0] as Node;
    else if (n.op === "assign") n = n.src[1] as Node;
    else return n;
  }
}

/** An op that writes updates into a copy of x at the slices that indices name along an axis. */
type Scattering = Pick<NodeOf<"scatter"> | NodeOf<"scatterReduce">, "src" | "attr">;

/** `x` is copied, then the updates are applied in the order of their indices.
 *  @param combine  what an element becomes; the update comes so many times */
export function scatterNests(
  { src, attr: { axis } }: Scattering,
  { out, newRange, valueAt }: Omit<SinkTools, "newScratch">,
  combine: (running: () => Node, update: Node, repeats: number) => Node,
): NestNode[] {
  const [x, indices, updates] = src as [Node, Node, Node];
  const xDims = knownDims(x);
  const copied = xDims.map((d) => newRange(d, "loop"));
  const copy = build("store", [out, flattenIndex(copied, xDims), valueAt(x, copied)], {});
  const ranges = knownDims(updates).map((d) => newRange(d, "loop"));
  const rank = knownDims(indices).length;
  const where = valueAt(indices, ranges.slice(axis, axis + rank));
  const target = [...ranges.slice(0, axis), cast(where, "i32"), ...ranges.slice(axis + rank)];
  const index = flattenIndex(target, xDims);
  const mask = betweenIndex(target[axis] as Node, xDims[axis] as number);
  const masked = mask ? [mask] : [];
  const update = valueAt(updates, ranges);
  // Iterations that differ in nothing would fall out of the nest: they apply the same update so many times.
  const seen = new Set(topological([index, update, ...masked]));
  const repeats = knownDims(updates).reduce((n, d, a) => (seen.has(ranges[a] as Node) ? n : n * d), 1);
  if (repeats === 0) return [makeNest([copy], idsOf(copied))];
  const value = combine(() => build("load", [out, index, ...masked], {}), update, repeats);
  const apply = build("store", [out, index, value, ...masked], {});
  return [makeNest([copy], idsOf(copied)), makeNest([apply], idsOf(ranges))];
}

/** An update that comes several times is added multiplied. */
const scattered =
  (mode: "add" | "set") =>
  (running: () => Node, update: Node, repeats: number): Node => {
    if (mode === "set") return update;
    return add(running(), repeats === 1 ? update : mul(update, scalar(repeats, dtypeOf(update))));
  };

export type ValueAt = (node: Node, at: readonly Node[]) => Node;

/** Makes each value (node, indices, mask) once. */
function evaluator(context: Context): ValueAt {
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
