/** The schedule that a kernel gets without any measurement: it follows from the kernel and the static facts of the hardware.
 *
 *  The order of a sum follows from the extents that it runs over and the width of the hardware's vectors alone. A dot adds its steps in
 *  order, or along vectors if its weights have few bits and vectors are wide (`products/gemm-blocks.ts`). A reduction of E terms, numbered
 *  row-major over its axes, adds term k to partial sum k mod P and combines those in a tree; the last E mod P terms follow in order;
 *  above 4096 terms this is done for blocks of 512, and then for the sums of the blocks. P is 8, with vectors of more than 4 elements two
 *  of them, or less where the terms are fewer. The partial sums are the lanes of vectors where the reduced axis is contiguous, and
 *  accumulators of their own where an output axis is. */
import { isFloat } from "../ir/dtype.ts";
import { type Fn, topological } from "../ir/fn.ts";
import { dtypeOf, type Node } from "../ir/node.ts";
import { affine } from "../ops/indexing.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import { scheduleProduct } from "./products/gemm.ts";
import { type AccumulateNode, accumulatesIn, loadsIn, type NestNode, type RangeNode, storesOf } from "./nests.ts";
import type { Option } from "./option.ts";
import {
  type Choose,
  collapseNeighbours,
  lanesOf,
  newPlan,
  outputIds,
  type Plan,
  vectorizeLoop,
  vectorLanes,
} from "./plan.ts";
import { wideRules } from "./products/tile-size.ts";

/** The fewest partial sums of a reduction. Part of what results are, bit for bit: see the header. */
const PARTS = 8;
/** Reductions of more terms are done in blocks of so many: a sum of 10⁸ then errs by some 64 roundings a level. Likewise. */
const LONG = 4096;
const BLOCK = 512;

/** Orders of loops that are speed alone (`loop-orders.ts`): the device adds them, and a small page does without. */
interface LoopOrders {
  /** Cuts a nest in two where a mask changes; false where there is nothing to cut. */
  readonly cut: (plan: Plan, i: number) => boolean;
  /** Schedules a nest that reads what it stored; undefined where iterations of the last output range may run in any order. */
  readonly recurrence: (plan: Plan, i: number, last: number) => number | undefined;
  /** What to do once the nest has vectors: nothing where no load goes across the last output range. */
  readonly across: (plan: Plan, i: number, last: number, lanes: number) => (() => void) | undefined;
}

let orders: LoopOrders | undefined;

export function addLoopOrders(rules: LoopOrders): void {
  orders = rules;
}

/** The options for a freshly lowered kernel, to be applied by `applySchedule`. */
export const schedule = (kernel: Fn, hardware: HardwareModel, choose?: Choose): Option[] => [
  ...planned(kernel, hardware, choose).options,
];

/** The kernel with those options applied. */
export const scheduled = (kernel: Fn, hardware: HardwareModel, choose?: Choose): Fn =>
  planned(kernel, hardware, choose).kernel();

function planned(kernel: Fn, hardware: HardwareModel, choose: Choose | undefined): Plan {
  const plan = newPlan(kernel, hardware, choose);
  for (let i = 0; i < plan.count(); ) i = scheduleNest(plan, i);
  return plan;
}

/** Schedules nest i and returns the position of the next one that is not scheduled yet. */
function scheduleNest(plan: Plan, i: number): number {
  const sums = accumulatesIn(plan.nest(i).src);
  // Nothing to run, or nothing to add: the plain loops are right.
  if (plan.nest(i).attr.order.some((id) => plan.range(i, id).attr.extent === 0)) return i + 1;
  if (sums.length === 0) return scheduleElementwise(plan, i);
  if (sums.some((n) => n.attr.product))
    return sums.length === 1
      ? scheduleProduct(plan, i, scheduleElementwise)
      : (wideRules(plan.hardware, vectorLanes(plan.hardware))?.packed(plan, i, scheduleElementwise) ?? i + 1);
  return sums.length === 1 ? scheduleReduction(plan, i, sums[0] as AccumulateNode) : i + 1;
}

function scheduleElementwise(plan: Plan, i: number): number {
  if (orders?.cut(plan, i)) return i;
  collapseNeighbours(plan, i, outputIds(plan.nest(i)));
  const last = outputIds(plan.nest(i)).at(-1);
  if (last === undefined) return i + 1;
  const most = lanesOf(plan, i);
  const { extent } = plan.range(i, last).attr;
  const lanes = wideRules(plan.hardware, most)?.lanes(extent, most) ?? most;
  if (follows(plan.nest(i))) {
    const next = orders ? orders.recurrence(plan, i, last) : i + 1;
    if (next !== undefined) return next;
  }
  if (lanes === 1) return i + 1;
  const size = topological(plan.nest(i).src).length;
  const goAcross = orders?.across(plan, i, last, lanes);
  const wide = vectorLanes(plan.hardware);
  const next = vectorizeLoop(
    plan,
    i,
    last,
    lanes,
    plan.choose("unroll", size <= 8 * wide ? 4 : size <= 20 * wide ? 2 : 1),
  );
  goAcross?.();
  return next;
}

/** Whether the nest reads what it stored before. */
const follows = (nest: NestNode): boolean => {
  const stored = new Map(storesOf(nest).map((s) => [s.src[0], s.src[1]]));
  return loadsIn(nest.src).some((l) => (stored.get(l.src[0]) ?? l.src[1]) !== l.src[1]);
};

export const strideOf = (index: Node, r: RangeNode | undefined): number | undefined =>
  r ? affine(index).terms.get(r) : undefined;

/** Loads whose neighbours along the range are neighbours in memory. */
const contiguousLoads = (value: Node, r: RangeNode | undefined): number =>
  loadsIn([value]).filter((l) => strideOf(l.src[1] as Node, r) === 1).length;

/** Partial sums of a reduction over these extents; 1 where they are added in order.
 *  @param lanes  of the hardware, for f32 */
function partialSums(extents: readonly number[], lanes: number): number {
  const terms = extents.reduce((product, extent) => product * extent, 1);
  if (terms < PARTS) return 1;
  let parts = Math.max(PARTS, 2 * lanes);
  // Along the innermost range alone, if no round ends within it.
  const inner = extents.length > 1 ? (extents.at(-1) as number) : terms;
  const fits = extents.length > 1 && inner % PARTS === 0 ? (n: number) => inner % n === 0 : (n: number) => n <= terms;
  while (!fits(parts)) parts /= 2;
  return parts;
}

function scheduleReduction(plan: Plan, i: number, first: AccumulateNode): number {
  const ids = first.src.slice(1).map((r) => (r as RangeNode).attr.id);
  collapseNeighbours(plan, i, ids);
  const sum = (): AccumulateNode => accumulatesIn(plan.nest(i).src)[0] as AccumulateNode;
  const left = (): RangeNode[] => sum().src.slice(1) as RangeNode[];
  const extents = left().map((r) => r.attr.extent);
  const terms = extents.reduce((c, e) => c * e, 1);
  const blocked = first.attr.kind === "sum" && isFloat(dtypeOf(first)) && terms > LONG;
  const wide = vectorLanes(plan.hardware);
  const rules = wideRules(plan.hardware, wide);
  const isWindow = rules?.isWindow(first.attr.kind, extents);
  const parts = plan.choose("parts", isWindow ? 1 : partialSums(extents, wide));
  // Partial sums along the innermost range are those along all of them only if no round ends within it.
  if (left().length > 1 && (blocked || (parts > 1 && (left().at(-1) as RangeNode).attr.extent % parts !== 0)))
    plan.add({ option: "collapse", nest: i, ranges: left().map((r) => r.attr.id) });
  if (blocked) {
    plan.add({ option: "accumulateBlocks", nest: i, range: (left()[0] as RangeNode).attr.id, block: BLOCK });
    return i;
  }
  rules?.orderBlocks(plan, i);
  collapseNeighbours(plan, i, outputIds(plan.nest(i)));
  const reduced = left().at(-1) as RangeNode;
  const lanes = lanesOf(plan, i);
  const last = outputIds(plan.nest(i)).at(-1);
  const along = last === undefined ? undefined : plan.range(i, last);
  const value = sum().src[0] as Node;
  const outer =
    along !== undefined &&
    lanes > 1 &&
    along.attr.extent >= lanes &&
    // So few terms have no partial sums for the lanes of a vector: its lanes are results.
    (parts === 1 ||
      (rules?.isAcross(value, along, reduced, parts) ??
        contiguousLoads(value, along) >= contiguousLoads(value, reduced)));
  if (outer && parts > 1 && rules?.isByRows(sum(), along, reduced, parts) && plan.choose("rows", 1)) {
    plan.add({ option: "accumulateRows", nest: i, range: reduced.attr.id, parts });
    return i;
  }
  if (parts > 1)
    plan.add({
      option: "accumulateParts",
      nest: i,
      range: reduced.attr.id,
      parts,
      lanes: outer || dtypeOf(value) === "bool" ? 1 : Math.min(lanes, parts),
    });
  // A cache line at a time, where a row is more than that; long expressions have enough to do with the partial sums of one vector.
  // Of short ones with more sums than there are registers, these wait in the first cache for less time than rows take to come.
  const side = parts > 1 && topological([value]).length > (parts > PARTS ? 16 : 48) ? 1 : 4;
  return outer ? vectorizeLoop(plan, i, along.attr.id, lanes, plan.choose("side", side)) : i + 1;
}
