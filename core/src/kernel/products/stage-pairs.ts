/** The options for products of bf16 and of bytes by instructions that add two or four products at a time: so many neighbours along the sum
 *  become words, of which panels are packed. Of two:
 *
 *    for m, n: out = accumulate sum(x(m, k) · y(k, n)) over k
 *  → for m, n: out = accumulate sum(part h of word(x(m, 2k), x(m, 2k + 1)) · part h of word(y(2k, n), y(2k + 1, n))) over k, h
 *  → for p, k, t: panel[p][k][t] = word(x(p·tile + t, 2k), x(p·tile + t, 2k + 1))
 *    for m, n: out = accumulate sum(part h of panel[m / tile][k][m mod tile] · …) over k, h */
import { dtypeOf, type Node } from "../../ir/node.ts";
import { build, cast, lt, mul, scalar, sub, where } from "../../ops/build.ts";
import { addIndex, constIndex, flattenIndex, mulIndex } from "../../ops/indexing.ts";
import {
  type AccumulateNode,
  accumulatesIn,
  makeNest,
  type NestNode,
  type RangeNode,
  rangesIn,
  reaches,
} from "../nests.ts";
import { type Option, reduced, refuse, type Site } from "../option.ts";
import { factor, PARTS, partOf, partsOf, SIGN, withoutSign, word, wordOf } from "./pair-product.ts";
import { inPanels, newScratch } from "../stage.ts";
import { substitute } from "../substitute.ts";

/** The nest with its sum, which it has one of, in the place of another. */
function withSum(
  site: Site,
  sum: AccumulateNode,
  factors: readonly Node[],
  over: readonly Node[],
  last = (all: Node) => all,
): NestNode {
  // The first operand's zeros are elsewhere.
  const { kind, product } = sum.attr;
  const attr = { kind, ...(product ? { product } : {}) };
  const replaced = last(build("accumulate", [build("mul", factors, {}), ...over], attr));
  const node = (n: Node): Node | undefined => (n === sum ? replaced : undefined);
  const stores = substitute(site.nest.src, { range: () => undefined, node });
  const [old] = sum.src.slice(1) as [RangeNode];
  const [first] = over as [RangeNode];
  return makeNest(
    stores,
    site.nest.attr.order.map((id) => (id === old.attr.id ? first.attr.id : id)),
  );
}

/** Makes words of the terms of a sum of products of bf16, or of bytes; the last one is filled up with zeros.
 *  @throws ScheduleError unless it is one over a range of more than a word, and nothing else */
export function pairTerms(site: Site, id: number): readonly NestNode[] {
  const [r, sum] = reduced(site, id);
  const product = sum.src[0] as Node;
  const factors = product.src.flatMap((s) => partOf(s) ?? []);
  const [a, b] = factors.map(({ part }) => PARTS[part]);
  const { extent } = r.attr;
  if (product.op !== "mul" || sum.attr.kind !== "sum" || a === undefined || a !== b || sum.src.length > 2)
    return refuse(site, "expected the sum of a product of bf16, or of bytes, over one range");
  if (extent <= a) return refuse(site, `${extent} terms are not several words of ${a}`);
  const k = site.newRange(Math.ceil(extent / a), "reduce");
  const h = site.newRange(a, "unroll");
  const at = (x: Node, place: number): Node => {
    const index = addIndex(mulIndex(k, a), constIndex(place));
    const range = (n: RangeNode): Node | undefined => (n === r ? index : undefined);
    if (extent % a === 0) return substitute([x], { range })[0] as Node;
    const condition = lt(index, constIndex(extent));
    const [value] = substitute([x], { range, guard: { condition, needs: (of) => reaches(of, k) } });
    return where(condition, value as Node, scalar(0, dtypeOf(x)));
  };
  const ofWords = factors.map(({ value, part }) =>
    factor(word(Array.from({ length: a }, (_, place) => at(value, place))), h, part),
  );
  return [withSum(site, sum, ofWords, [k, h])];
}

/** Moves an operand of a sum of products of i8 by 128, so that it has no sign, and takes as many times the sum of the other operand off: the
 *  instruction multiplies bytes without a sign by such with one.
 *
 *    for m, n: out = accumulate sum(x(m, k) · y(k, n)) over k
 *  → for m: sums[m] = accumulate sum(x(m, k)) over k
 *    for m, n: out = accumulate sum(x(m, k) · (y(k, n) xor 128)) over k − 128 · sums[m]
 *  @returns the nest of sums, and the one that multiplies
 *  @throws ScheduleError unless it is one over a range, which is a plain loop as all of the other operand's */
export function moveSigns(
  site: Site,
  { operand, range: id }: Extract<Option, { option: "moveSigns" }>,
): readonly NestNode[] {
  const [r, sum] = reduced(site, id);
  const product = sum.src[0] as Node;
  const [moved, other] = [operand, 1 - operand].map((i) => partOf(product.src[i] as Node));
  if (
    product.op !== "mul" ||
    sum.attr.kind !== "sum" ||
    moved?.part !== "i8" ||
    other?.part !== "i8" ||
    sum.src.length > 2
  )
    return refuse(site, "expected the sum of a product of i8 over one range");
  const x = product.src[1 - operand] as Node;
  const used = rangesIn([x]);
  const outputs = site.nest.attr.order.flatMap((of) => (of === id ? [] : (used.get(of) ?? [])));
  const dims = [...site.around, ...outputs].map((of) => of.attr.extent);
  const scratch = newScratch(site, sum, dims);
  const fresh = new Map([...outputs, r].map((of) => [of, site.newRange(of.attr.extent, of.attr.kind)]));
  const [value] = substitute([x], { range: (of) => fresh.get(of) });
  const total = build("accumulate", [value as Node, fresh.get(r) as Node], { kind: "sum" });
  const place = (of: RangeNode): RangeNode => fresh.get(of) ?? of;
  const at = (ranges: readonly RangeNode[]): Node => flattenIndex([...site.around, ...ranges], dims);
  const sums = makeNest(
    [build("store", [scratch, at(outputs.map(place)), total], {})],
    outputs.map((of) => place(of).attr.id),
  );
  const factors = product.src.map((s, i) => (i === operand ? cast(withoutSign(moved.value), "i32") : s));
  const over = mul(build("load", [scratch, at(outputs)], {}), scalar(SIGN, "i32"));
  return [sums, withSum(site, sum, factors, [r], (all) => sub(all, over))];
}

/** Packs the words of an operand, with all that is fused into it, as `stage` does.
 *  @returns the nests that pack, two where the last panel is not full, and the one that multiplies
 *  @throws ScheduleError unless the nest has one sum, of such words, whose ranges are plain loops */
export function stagePairs(
  site: Site,
  { operand, range: id, tile, into }: Extract<Option, { option: "stagePairs" }>,
): readonly NestNode[] {
  const sums = accumulatesIn(site.nest.src);
  const [sum] = sums;
  const h = sum && partsOf(sum);
  const [product, k, ...more] = (sum?.src.filter((n) => n !== h) ?? []) as [Node, RangeNode, ...Node[]];
  if (!sum || !h || sums.length !== 1 || more.length > 0) return refuse(site, "expected one sum of products of words");
  if (!Number.isSafeInteger(tile) || tile < 1) refuse(site, `expected the tile to be a positive integer, got ${tile}`);
  const { of: x, part } = wordOf(product.src[operand] as Node) as NonNullable<ReturnType<typeof wordOf>>;
  const used = rangesIn([x]);
  const outputs = site.nest.attr.order.flatMap((other) => (other === k.attr.id ? [] : (used.get(other) ?? [])));
  const along = outputs.find((r) => r.attr.id === id) ?? refuse(site, `operand ${operand} does not depend on ${id}`);
  if (k.attr.kind !== "reduce" || outputs.some(({ attr }) => attr.kind !== "loop"))
    refuse(site, "a range is no plain loop any more", "stage first");
  const others = outputs.filter((r) => r !== along);
  const { packs, staged } = inPanels(site, x, { along, others, reduces: [k], tile, into });
  const factors = product.src.map((s, i) => (i === operand ? factor(staged, h, part) : s));
  return [...packs, withSum(site, sum, factors, [k, h])];
}
