/** From a fusion group to a kernel that nobody has scheduled yet: one nest of loops for the results that share their
 *  ranges, every value an expression of symbolic indices. Nothing is stored between operations.
 *
 *    %s = reduce sum(mul(%x, %x)) {1}    →    for m: out[m] = accumulate sum(x[8·m + k] · x[8·m + k]) over k
 */
import { known, sizeOf } from "../ir/dim.ts";
import { byteSize, type DType, isBlock } from "../ir/dtype.ts";
import { type Fn, topological } from "../ir/fn.ts";
import { dtypeOf, type Node, type NodeOf, type Op, tensorTypeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { tensorType } from "../ir/type.ts";
import { add, build, cast, mul, scalar } from "../ops/build.ts";
import { betweenIndex, constIndex, flattenIndex, knownDims } from "../ops/indexing.ts";
import { define, newScope } from "../ops/table.ts";
import { carried } from "./narrow.ts";
import { type Item, makeKernel, makeNest, makeRange, type NestNode } from "./nests.ts";
import { rowFusion } from "./row-fusion.ts";
import { evaluator, isHostScalar, type NewRange, unmarked, type ValueAt } from "./value-at.ts";

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

/** The kernel of a group: parameters are the group's buffers, one flat buffer a result, then the host scalars.
 *  @throws VerifyError for an op that does not belong into a group; ShapeError for a dimension without a value */
export function lower(whole: Fn): Fn {
  const fusion = rowFusion();
  const rows = fusion?.rowsOf(whole);
  const group = rows?.fn ?? whole;
  return within(newScope(), () => {
    const params = kernelParams(group);
    let nextRange = 0;
    const newRange: NewRange = (extent, kind) => (extent === 1 ? constIndex(0) : makeRange(nextRange++, extent, kind));
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
        // Nothing is written for a result without elements.
        if (r.op === "item" && !knownDims(r).includes(0)) outs[r.attr.index] = params.outputs[i];
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
