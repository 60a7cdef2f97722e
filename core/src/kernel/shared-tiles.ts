/** Which loops of a product threads share: the tiles of all of its outer loops, in the order in which one thread goes through them. A
 *  thread's share is a run of neighbours, which read the same panels, and may begin and end anywhere. */
import type { Fn } from "../ir/fn.ts";
import {
  type AccumulateNode,
  accumulatesIn,
  kernelNode,
  makeNest,
  makeRange,
  type NestNode,
  placedNests,
  type RangeNode,
  rangesIn,
  replaceNests,
} from "./nests.ts";
import { outputLoops } from "./c-like-text.ts";
import { isIndependent } from "./schedule.ts";
import { shareLoops, workOf } from "./parallel.ts";
import { within } from "../ir/scope.ts";
import { substitute } from "./substitute.ts";

/** Tiles that are enough to share; no more loops become one then. */
const ENOUGH = 512;
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

/** Whether a sum has no short loops. Those are written out, of which GCC 12 makes nothing in minutes behind an index that is a remainder. */
const isLong = (sum: AccumulateNode): boolean => sum.src.slice(1).every((r) => (r as RangeNode).attr.extent > SHORT);

function shareProduct(nest: NestNode): NestNode {
  const sums = accumulatesIn(nest.src);
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
  if (shared.length < 2) return nest;
  const marked = new Map(shared.map((r) => [r, makeRange(r.attr.id, r.attr.extent, "parallel")]));
  return makeNest(substitute(nest.src, { range: (r) => marked.get(r) }), nest.attr.order);
}
