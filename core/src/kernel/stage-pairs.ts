/** The options for products of bf16 by instructions that add two products at a time: pairs of neighbours along the sum become words, of which
 *  panels are packed.
 *
 *    for m, n: out = accumulate sum(x(m, k) · y(k, n)) over k
 *  → for m, n: out = accumulate sum(half h of word(x(m, 2k), x(m, 2k + 1)) · half h of word(y(2k, n), y(2k + 1, n))) over k, h
 *  → for p, k, t: panel[p][k][t] = word(x(p·tile + t, 2k), x(p·tile + t, 2k + 1))
 *    for m, n: out = accumulate sum(half h of panel[m / tile][k][m mod tile] · …) over k, h */
import type { Node } from "../ir/node.ts";
import { build } from "../ops/build.ts";
import { addIndex, constIndex, mulIndex } from "../ops/indexing.ts";
import { type AccumulateNode, accumulatesIn, makeNest, type NestNode, type RangeNode, rangesIn } from "./nests.ts";
import { type Option, reduced, refuse, type Site } from "./option.ts";
import { half, halfOf, PAIR, pairedOf, word, wordOf } from "./pair-product.ts";
import { inPanels } from "./stage.ts";
import { substitute } from "./substitute.ts";

/** The nest with its sum, which it has one of, in the place of another. */
function withSum(site: Site, sum: AccumulateNode, factors: readonly Node[], over: readonly Node[]): NestNode {
  // The first operand's zeros are elsewhere.
  const { kind, product } = sum.attr;
  const attr = { kind, ...(product ? { product } : {}) };
  const replaced = build("accumulate", [build("mul", factors, {}), ...over], attr);
  const node = (n: Node): Node | undefined => (n === sum ? replaced : undefined);
  const stores = substitute(site.nest.src, { range: () => undefined, node });
  const [old] = sum.src.slice(1) as [RangeNode];
  const [first] = over as [RangeNode];
  return makeNest(
    stores,
    site.nest.attr.order.map((id) => (id === old.attr.id ? first.attr.id : id)),
  );
}

/** Makes pairs of the terms of a sum of products of bf16.
 *  @throws ScheduleError unless it is one over an even range of at least two pairs */
export function pairTerms(site: Site, id: number): readonly NestNode[] {
  const [r, sum] = reduced(site, id);
  const product = sum.src[0];
  const { extent } = r.attr;
  if (product?.op !== "mul" || sum.attr.kind !== "sum" || !product.src.every(pairedOf) || sum.src.length > 2)
    return refuse(site, "expected the sum of a product of bf16 over one range");
  if (extent % PAIR !== 0 || extent <= PAIR) return refuse(site, `${extent} terms are not several pairs`);
  const k = site.newRange(extent / PAIR, "reduce");
  const h = site.newRange(PAIR, "unroll");
  const at = (x: Node, place: number): Node =>
    substitute([x], {
      range: (n) => (n === r ? addIndex(mulIndex(k, PAIR), constIndex(place)) : undefined),
    })[0] as Node;
  const factors = product.src.map((s) => half(word(at(pairedOf(s) as Node, 0), at(pairedOf(s) as Node, 1)), h));
  return [withSum(site, sum, factors, [k, h])];
}

/** Packs the words of an operand, with all that is fused into it, as `stage` does.
 *  @returns the nests that pack, two where the last panel is not full, and the one that multiplies
 *  @throws ScheduleError unless the nest has one sum, of such pairs, whose ranges are plain loops */
export function stagePairs(
  site: Site,
  { operand, range: id, tile }: Extract<Option, { option: "stagePairs" }>,
): readonly NestNode[] {
  const sums = accumulatesIn(site.nest.src);
  const [sum] = sums;
  const h = sum && halfOf(sum);
  const [product, k, ...more] = (sum?.src.filter((n) => n !== h) ?? []) as [Node, RangeNode, ...Node[]];
  if (!sum || !h || sums.length !== 1 || more.length > 0) return refuse(site, "expected one sum of pairs of bf16");
  if (!Number.isSafeInteger(tile) || tile < 1) refuse(site, `expected the tile to be a positive integer, got ${tile}`);
  const x = wordOf(product.src[operand] as Node) as Node;
  const used = rangesIn([x]);
  const outputs = site.nest.attr.order.flatMap((other) => (other === k.attr.id ? [] : (used.get(other) ?? [])));
  const along = outputs.find((r) => r.attr.id === id) ?? refuse(site, `operand ${operand} does not depend on ${id}`);
  if (k.attr.kind !== "reduce" || outputs.some(({ attr }) => attr.kind !== "loop"))
    refuse(site, "a range is no plain loop any more", "stage first");
  const others = outputs.filter((r) => r !== along);
  const { packs, staged } = inPanels(site, x, { along, others, reduces: [k], tile });
  const factors = product.src.map((s, i) => (i === operand ? half(staged, h) : s));
  return [...packs, withSum(site, sum, factors, [k, h])];
}
