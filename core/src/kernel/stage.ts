/** The options that give a kernel another nest and scratch memory between the two: packed panels, and sums of blocks. */
import { dtypeOf, type Node } from "../ir/node.ts";
import { tensorType } from "../ir/type.ts";
import { build, lt, scalar, where } from "../ops/build.ts";
import { addIndex, constIndex, divIndex, flattenIndex, modIndex, mulIndex } from "../ops/indexing.ts";
import {
  accumulatesIn,
  makeNest,
  type NestNode,
  nextIds,
  type RangeNode,
  rangesIn,
  reaches,
  reduceIds,
} from "./nests.ts";
import { type Option, reduced, refuse, type Site } from "./option.ts";
import { substitute } from "./substitute.ts";
import { usedScratch } from "./products/tile-size.ts";

/** Scratch memory for values of the dtype of one of them. */
export function newScratch(site: Site, like: Node, dims: readonly number[]): Node {
  const count = dims.reduce((c, d) => c * d, 1);
  return build("scratch", [], { id: nextIds(site.kernel).scratch, type: tensorType(dtypeOf(like), [count]) });
}

/** The output ranges of the nest on which a value depends, outermost first. */
function outputsOf(site: Site, value: Node): RangeNode[] {
  const inner = reduceIds(site.nest.src);
  const used = rangesIn([value]);
  return site.nest.attr.order.flatMap((id) => (inner.has(id) ? [] : (used.get(id) ?? [])));
}

const requireLoops = (site: Site, ranges: readonly RangeNode[]): void => {
  for (const { attr } of ranges)
    if (attr.kind !== "loop" && attr.kind !== "reduce")
      refuse(site, `range ${attr.id} is of kind ${attr.kind} already`, "stage first");
};

interface Panels {
  readonly along: RangeNode;
  /** The other output ranges, and those that are summed over. */
  readonly others: readonly RangeNode[];
  readonly reduces: readonly RangeNode[];
  readonly tile: number;
  /** Scratch memory that there is. */
  readonly into?: number | undefined;
}

/** Packs a value in panels along one of its output ranges.
 *  @returns the nests that pack, two where the last panel is not full, and what stands for the value then */
export function inPanels(
  site: Site,
  x: Node,
  { along, others, reduces, tile, into }: Panels,
): { readonly packs: readonly NestNode[]; readonly staged: Node } {
  const { extent } = along.attr;
  const panels = Math.ceil(extent / tile);
  const extents = (ranges: readonly RangeNode[]): number[] => ranges.map((r) => r.attr.extent);
  const { around } = site;
  const dims = [...extents(around), ...extents(others), panels, ...extents(reduces), tile];
  const scratch = into === undefined ? newScratch(site, x, dims) : usedScratch(site, into, x, dims);

  const pack = (first: number, count: number, filled: number): NestNode => {
    const fresh = new Map([...others, ...reduces].map((r) => [r, site.newRange(r.attr.extent, "loop")]));
    const panel = count === 1 ? constIndex(0) : site.newRange(count, "loop");
    const inner = tile === 1 ? constIndex(0) : site.newRange(tile, "loop");
    const at = addIndex(panel, constIndex(first));
    const inside = filled < tile ? lt(inner, constIndex(filled)) : undefined;
    const [packed] = substitute([x], {
      range: (r) => (r === along ? addIndex(mulIndex(at, tile), inner) : fresh.get(r)),
      ...(inside ? { guard: { condition: inside, needs: (index) => reaches(index, inner as RangeNode) } } : {}),
    });
    const value = inside ? where(inside, packed as Node, scalar(0, dtypeOf(x))) : (packed as Node);
    const place = (ranges: readonly RangeNode[]): Node[] => ranges.map((r) => fresh.get(r) as Node);
    const index = flattenIndex([...around, ...place(others), at, ...place(reduces), inner], dims);
    const order = [...place(others), panel, ...place(reduces), inner].flatMap((r) =>
      r.op === "range" ? [r.attr.id] : [],
    );
    return makeNest([build("store", [scratch, index, value], {})], order);
  };
  const full = Math.floor(extent / tile);
  const packs = [
    ...(full > 0 ? [pack(0, full, tile)] : []),
    ...(full < panels ? [pack(full, 1, extent - full * tile)] : []),
  ];

  const index = flattenIndex([...around, ...others, divIndex(along, tile), ...reduces, modIndex(along, tile)], dims);
  return { packs, staged: build("load", [scratch, index], {}) };
}

/** Packs an operand, with all that is fused into it:
 *
 *    for m, n: out = accumulate sum(x(m, k) · y(k, n)) over k
 *  → for p, k, t: panel[p][k][t] = x(p·tile + t, k)
 *    for m, n: out = accumulate sum(panel[m / tile][k][m mod tile] · y(k, n)) over k
 *
 *  Where there is memory of panels that are no longer read, these lie there.
 *  Source: Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication", section 4. */
export function stage(
  site: Site,
  { operand, range: id, tile, into }: Extract<Option, { option: "stage" }>,
): readonly NestNode[] {
  const sums = accumulatesIn(site.nest.src);
  const sum = sums[0];
  const product = sum?.src[0];
  if (!sum || sums.length !== 1 || sum.attr.kind !== "sum" || product?.op !== "mul")
    return refuse(site, "expected one accumulate, the sum of a product");

  if (!Number.isSafeInteger(tile) || tile < 1) refuse(site, `expected the tile to be a positive integer, got ${tile}`);
  const x = product.src[operand] as Node;
  const along = site.ranges.get(id) ?? refuse(site, `there is no range ${id}`);
  const outputs = outputsOf(site, x);
  if (!outputs.includes(along)) refuse(site, `operand ${operand} does not depend on the output range ${id}`);
  const reduces = sum.src.slice(1) as RangeNode[];
  requireLoops(site, [...outputs, ...reduces]);
  const others = outputs.filter((r) => r !== along);
  const { packs, staged } = inPanels(site, x, { along, others, reduces, tile, into });
  const factors = product.src.map((s, i) => (i === operand ? staged : s));
  // The first operand's zeros are elsewhere in a panel.
  const { kind, product: isProduct } = sum.attr;
  const attr = operand === 0 ? { kind, ...(isProduct ? { product: isProduct } : {}) } : sum.attr;
  const replaced = build("accumulate", [build("mul", factors, {}), ...reduces], attr);
  const stores = substitute(site.nest.src, { range: () => undefined, node: (n) => (n === sum ? replaced : undefined) });
  return [...packs, makeNest(stores, site.nest.attr.order)];
}

/** Sums of blocks of a long reduction, so that rounding errors grow with the block and the number of blocks rather than with
 *  their product (Higham 1993, "The accuracy of floating point summation"). */
export function accumulateBlocks(site: Site, id: number, block: number): readonly NestNode[] {
  const [r, sum] = reduced(site, id);
  if (sum.attr.product) refuse(site, "the sum of a dot is taken in order");
  if (!Number.isSafeInteger(block) || block < 2) refuse(site, `expected a block of at least 2, got ${block}`);
  const { extent } = r.attr;
  if (extent <= block) refuse(site, `${extent} iterations are no more than one block of ${block}`);
  if (sum.src.length !== 2) refuse(site, "the accumulate has other ranges", "collapse them first");
  if (
    accumulatesIn(site.nest.src).some(
      (n) => n !== sum && (accumulatesIn([n]).includes(sum) || accumulatesIn([sum]).includes(n)),
    )
  )
    refuse(site, "the accumulate is part of another one, or has one in it");
  const outputs = outputsOf(site, sum.src[0] as Node);
  requireLoops(site, outputs);
  const blocks = Math.ceil(extent / block);
  const { around } = site;
  const dims = [...around, ...outputs].map((n) => n.attr.extent);
  dims.splice(around.length, 0, blocks);
  const scratch = newScratch(site, sum, dims);

  const partial = (first: number, count: number, length: number): NestNode => {
    const fresh = new Map(outputs.map((n) => [n, site.newRange(n.attr.extent, "loop")]));
    const number = count === 1 ? constIndex(0) : site.newRange(count, "loop");
    const inner = length === 1 ? constIndex(0) : site.newRange(length, "reduce");
    const at = addIndex(number, constIndex(first));
    const [value] = substitute([sum.src[0] as Node], {
      range: (n) => (n === r ? addIndex(mulIndex(at, block), inner) : fresh.get(n)),
    });
    const total = inner.op === "range" ? build("accumulate", [value as Node, inner], sum.attr) : (value as Node);
    const places = outputs.map((n) => fresh.get(n) as RangeNode);
    const order = [number, ...places].flatMap((n) => (n.op === "range" ? [n.attr.id] : []));
    return makeNest([build("store", [scratch, flattenIndex([...around, at, ...places], dims), total], {})], order);
  };
  const full = Math.floor(extent / block);
  const nests = [partial(0, full, block), ...(full < blocks ? [partial(full, 1, extent - full * block)] : [])];

  const over = site.newRange(blocks, "reduce");
  const total = build(
    "accumulate",
    [build("load", [scratch, flattenIndex([...around, over, ...outputs], dims)], {}), over],
    sum.attr,
  );
  const stores = substitute(site.nest.src, { range: () => undefined, node: (n) => (n === sum ? total : undefined) });
  return [
    ...nests,
    makeNest(
      stores,
      site.nest.attr.order.map((n) => (n === id ? over.attr.id : n)),
    ),
  ];
}
