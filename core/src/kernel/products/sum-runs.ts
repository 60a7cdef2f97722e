/** The option that adds up a sum in runs: one sum is a chain of additions, each of which waits for the one before it; the next run begins while
 *  the chain of the last one is not yet at its end. */
import type { Node } from "../../ir/node.ts";
import { build } from "../../ops/build.ts";
import { addIndex, mulIndex } from "../../ops/indexing.ts";
import { makeNest, type NestNode, type RangeNode } from "../nests.ts";
import { reduced, refuse, type Site } from "../option.ts";
import { substitute } from "../substitute.ts";

/** Terms of a run are added in order, then the runs, in registers, lane by lane:
 *
 *    accumulate sum(x(k, r, l)) over k, r, lanes l
 *  → accumulate sum(accumulate sum(x(i · run + k, r, l)) over k, r) over i, lanes l
 *
 *  @throws ScheduleError unless the range is the first one of a sum, and several runs long */
export function sumRuns(site: Site, id: number, run: number): readonly NestNode[] {
  const [r, sum] = reduced(site, id);
  const count = r.attr.extent / run;
  if (!Number.isSafeInteger(run) || run < 2 || !Number.isSafeInteger(count) || count < 2)
    refuse(site, `${r.attr.extent} iterations are not several runs of ${run}`);
  if (sum.attr.kind !== "sum" || sum.attr.edges || sum.src[1] !== r)
    refuse(site, `expected range ${id} to be the first one of a sum without edges`);
  const [outer, inner] = [site.newRange(count, "reduce"), site.newRange(run, "reduce")];
  const [value] = substitute([sum.src[0] as Node], {
    range: (n) => (n === r ? addIndex(mulIndex(outer, run), inner) : undefined),
  });
  const over = sum.src.slice(2) as RangeNode[];
  const ofRun = build("accumulate", [value as Node, inner, ...over.filter(isReduced)], sum.attr);
  const total = build("accumulate", [ofRun, outer, ...over.filter((n) => !isReduced(n))], { kind: "sum" });
  const stores = substitute(site.nest.src, { range: () => undefined, node: (n) => (n === sum ? total : undefined) });
  const order = site.nest.attr.order.flatMap((n) => (n === id ? [outer.attr.id, inner.attr.id] : [n]));
  return [makeNest(stores, order)];
}

const isReduced = ({ attr }: RangeNode): boolean => attr.kind === "reduce";
