/** Which loops of a product threads share: the tiles of all of its outer loops, in the order in which one thread goes through them. A
 *  thread's share is a run of neighbours, which read the same panels, and may begin and end anywhere. */
import type { Fn } from "../ir/fn.ts";
import { type Node, tensorTypeOf } from "../ir/node.ts";
import {
  type AccumulateNode,
  accumulatesIn,
  kernelNode,
  type LoadNode,
  loadsIn,
  makeNest,
  makeRange,
  type NestNode,
  placedNests,
  type RangeNode,
  rangesIn,
  replaceNests,
  storesOf,
} from "./nests.ts";
import { partsOf } from "./products/pair-product.ts";
import { outputLoops } from "./c-like/text.ts";
import { isIndependent } from "./schedule.ts";
import { shareLoops, workOf } from "./parallel.ts";
import { within } from "../ir/scope.ts";
import { substitute } from "./substitute.ts";

/** Tiles that are enough to share; no more loops become one then. */
const ENOUGH = 512;
/** Panels, their vectors, terms: the loops of what packs one operand. */
const PACKING = 3;
/** Loops of at most so many steps are written out. */
const SHORT = 8;
/** Operations of a tile that are worth finding out which one it is. */
const LEAST = 2000;

/** The kernel with loops marked `parallel`: of a product the outer ones, of other nests one each. */
export function shareTiles(kernel: Fn): Fn {
  const isInside = placedNests(kernel).map(({ around }) => around.length > 0);
  return shareLoops(
    within(kernelNode(kernel).scope, () =>
      replaceNests(kernel, (nest, i) => [isInside[i] ? nest : shareProduct(nest)]),
    ),
  );
}

/** Whether a nest fills memory of the kernel's own with what it reads. */
export const isPacking = (nest: NestNode): boolean =>
  accumulatesIn(nest.src).length === 0 && storesOf(nest).every(({ src: [buffer] }) => buffer?.op === "scratch");

/** Whether a sum has no short loops. Those are written out, of which GCC 12 makes nothing in minutes behind an index that is a remainder. */
const isLong = (sum: AccumulateNode): boolean =>
  sum.src.slice(1).every((r) => (r as RangeNode).attr.extent > SHORT || r === partsOf(sum));

function shareProduct(nest: NestNode): NestNode {
  const sums = accumulatesIn(nest.src);
  if (isPacking(nest)) return sharePacking(nest);
  if (!sums.some((sum) => sum.attr.product) || !sums.every(isLong)) return nest;
  const of = sums.map((sum) => rangesIn([sum]));
  const loops = outputLoops(nest).filter((r) => r.attr.kind === "loop");
  const shared: RangeNode[] = [];
  let tiles = 1;
  const work = workOf(nest);
  for (const [depth, r] of loops.entries()) {
    // A sum that does not change inside of a loop is made before it.
    const keeps = of.every((ranges) => loops.slice(depth).some((l) => ranges.has(l.attr.id)));
    if (tiles >= ENOUGH || !keeps || !isIndependent({ nest }, r)) break;
    if (work / (tiles * r.attr.extent) < LEAST) break;
    shared.push(r);
    tiles *= r.attr.extent;
  }
  return shared.length < 2 ? nest : withShared(nest, largerFirst(nest, shared));
}

/** Panels are packed one after another, each along all of it, so that whoever multiplies by the first ones may be who packs them. */
function sharePacking(nest: NestNode): NestNode {
  const loops = outputLoops(nest).filter((r) => r.attr.kind === "loop" && r.attr.extent > 1);
  const isShared = loops.length > 1 && loops.length <= PACKING && loops.every((r) => isIndependent({ nest }, r));
  return isShared ? withShared(nest, loops) : nest;
}

/** Columns first where their packed operand is larger than that of the rows: a thread then reads its own part of it, which it packed, and only
 *  the smaller one is read by all. Either way the panel of a tile of columns stays in a cache while rows pass. */
function largerFirst(nest: NestNode, shared: readonly RangeNode[]): readonly RangeNode[] {
  const [sum, ...more] = accumulatesIn(nest.src);
  const loads = loadsIn(sum ? sum.src.slice(0, 1) : []).filter(({ src: [buffer] }) => buffer?.op === "scratch");
  const [a, b] = loads.sort((x, y) => sizeOf(y) - sizeOf(x));
  if (more.length > 0 || sum?.src.length !== 2 || !a || !b || sizeOf(a) === sizeOf(b)) return shared;
  const along = rangesIn(a.src.slice(1));
  if (![...along.values()].some((r) => r.attr.kind === "vector")) return shared;
  const isAlong = (r: RangeNode): boolean => along.has(r.attr.id);
  return [...shared.filter(isAlong), ...shared.filter((r) => !isAlong(r))];
}

const sizeOf = ({ src: [buffer] }: LoadNode): number =>
  tensorTypeOf(buffer as Node).dims.reduce<number>((n, d) => n * (d as number), 1);

function withShared(nest: NestNode, shared: readonly RangeNode[]): NestNode {
  const marked = new Map(shared.map((r) => [r, makeRange(r.attr.id, r.attr.extent, "parallel")]));
  const order = [...shared.map((r) => r.attr.id), ...nest.attr.order];
  return makeNest(substitute(nest.src, { range: (r) => marked.get(r) }), [...new Set(order)]);
}
