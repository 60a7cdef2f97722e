/** Which loop of each nest threads may share, and how much work a nest is. The mark changes nothing of what is computed:
 *  iterations of a parallel loop touch no element that another one writes, and every sum stays within one of them. */
import { ScheduleError } from "../errors.ts";
import { type Fn, topological } from "../ir/fn.ts";
import type { Node } from "../ir/node.ts";
import { accumulatesIn, type NestNode, nestsOf, placedNests, type RangeNode, rangesIn, reduceIds } from "./nests.ts";
import { apply } from "./schedule.ts";

/** A loop of fewer iterations is passed over for a longer one inside of it: it could not be shared evenly. */
const ENOUGH = 16;

/** The kernel with one loop of each nest that stands by itself marked `parallel` where one can be. A late step: later ones need not know of it. */
export const shareLoops = (kernel: Fn): Fn =>
  placedNests(kernel).reduce((k, { around }, i) => (around.length > 0 ? k : shareNest(k, i)), kernel);

function shareNest(kernel: Fn, i: number): Fn {
  for (const range of candidates(nestsOf(kernel)[i] as NestNode)) {
    try {
      return apply(kernel, { option: "parallel", nest: i, range });
    } catch (error) {
      // Its iterations may meet in memory.
      if (!(error instanceof ScheduleError)) throw error;
    }
  }
  return kernel;
}

/** Loops to try: the outermost of enough iterations, or else the longest. */
function candidates(nest: NestNode): number[] {
  const ranges = rangesIn(nest.src);
  const inner = reduceIds(nest.src);
  const outputs = nest.attr.order.flatMap((id) => (inner.has(id) ? [] : (ranges.get(id) ?? [])));
  if (outputs.some((r) => r.attr.kind === "parallel" || r.attr.extent === 0)) return [];
  const loops = outputs.filter((r) => r.attr.kind === "loop" && r.attr.extent > 1);
  const sums = accumulatesIn(nest.src).map((n) => rangesIn([n]));
  // What does not change inside of a loop is made once before it: each thread would make it again.
  const keeps = (r: RangeNode, depth: number): boolean =>
    depth === 0 || sums.every((of) => loops.slice(loops.indexOf(r)).some((l) => of.has(l.attr.id)));
  const possible = loops.filter(keeps);
  const long = possible.filter((r) => r.attr.extent >= ENOUGH);
  const short = possible.filter((r) => r.attr.extent < ENOUGH).sort((a, b) => b.attr.extent - a.attr.extent);
  return [...long, ...short].slice(0, 3).map((r) => r.attr.id);
}

/** What reading or writing an element takes, in operations on numbers that are in registers already. */
const ACCESS = 8;

/** About how many operations on single elements a nest is: each node as often as the ranges that it depends on run. A CPU does
 *  some 40 in a nanosecond. */
export function workOf(nest: NestNode): number {
  const over = new Map<Node, ReadonlyMap<number, number>>();
  let work = 0;
  for (const n of topological(nest.src)) {
    const ranges = new Map<number, number>();
    for (const s of n.src) for (const [id, extent] of over.get(s) ?? []) ranges.set(id, extent);
    if (n.op === "range") ranges.set(n.attr.id, n.attr.extent);
    let times = 1;
    for (const extent of ranges.values()) times *= extent;
    if (n.op !== "range" && n.op !== "const" && n.op !== "param")
      work += n.op === "load" || n.op === "store" ? ACCESS * times : times;
    if (n.op === "accumulate") for (const r of n.src.slice(1)) if (r.op === "range") ranges.delete(r.attr.id);
    over.set(n, ranges);
  }
  return work;
}
