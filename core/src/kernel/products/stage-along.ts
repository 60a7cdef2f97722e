/** The option that computes an operand of a product once, where it would be computed for each tile of the other one that it is multiplied by:
 *
 *    for m, n: out = accumulate sum(f(x(m, k)) · y(n, k)) over k
 *  → for m, k: scratch[m][k] = f(x(m, k))
 *    for m, n: out = accumulate sum(scratch[m][k] · y(n, k)) over k */
import { build } from "../../ops/build.ts";
import { makeNest, type NestNode, type RangeNode, rangesIn } from "../nests.ts";
import { type Option, reduced, refuse, type Site } from "../option.ts";
import { inPanels } from "../stage.ts";
import { substitute } from "../substitute.ts";

/** @returns the nest that computes, and the one that multiplies
 *  @throws ScheduleError unless it is a sum of products over one range, which is a plain loop as all of the operand's */
export function stageAlong(
  site: Site,
  { operand, range: id }: Extract<Option, { option: "stageAlong" }>,
): readonly NestNode[] {
  const [k, sum] = reduced(site, id);
  const product = sum.src[0];
  if (product?.op !== "mul" || sum.attr.kind !== "sum" || sum.src.length > 2)
    return refuse(site, "expected the sum of a product over one range");
  const x = product.src[operand] as (typeof product.src)[number];
  const used = rangesIn([x]);
  const others = site.nest.attr.order.flatMap((of): RangeNode[] => (of === id ? [] : [used.get(of) ?? []].flat()));
  if (others.some(({ attr }) => attr.kind !== "loop")) refuse(site, "a range is no plain loop any more", "stage first");
  const { packs, staged } = inPanels(site, x, { along: k, others, reduces: [], tile: 1 });
  const factors = product.src.map((s, i) => (i === operand ? staged : s));
  const replaced = build("accumulate", [build("mul", factors, {}), k], sum.attr);
  const stores = substitute(site.nest.src, { range: () => undefined, node: (n) => (n === sum ? replaced : undefined) });
  return [...packs, makeNest(stores, site.nest.attr.order)];
}
