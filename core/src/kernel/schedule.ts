/** A schedule is data: a list of options, each a rewrite of the kernel that is checked to keep its meaning. Nests are named by
 *  position, ranges by id; new ids follow from the kernel alone, so a list can be kept and applied to a fresh lowering. */
import { ScheduleError } from "../errors.ts";
import type { Fn } from "../ir/fn.ts";
import { type Node, tensorTypeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { add, build, lt, max, min, mul } from "../ops/build.ts";
import {
  addIndex,
  affine,
  allOf,
  bounds,
  constIndex,
  divIndex,
  modIndex,
  mulIndex,
  subIndex,
} from "../ops/indexing.ts";
import {
  accumulatesIn,
  kernelNode,
  loadsIn,
  makeNest,
  makeRange,
  type NestNode,
  nextIds,
  placedNests,
  type RangeNode,
  rangeOfLoop,
  rangesIn,
  reaches,
  reduceIds,
  replaceNests,
  storesOf,
} from "./nests.ts";
import { tellsApart } from "./digits.ts";
import { type Option, rangeOf, reduced, refuse, type Site } from "./option.ts";
import { accumulateBlocks, stage } from "./stage.ts";
import { applyWide } from "./products/tile-size.ts";
import { substitute, type Substitution } from "./substitute.ts";

/** @throws ScheduleError if an option is not legal for what the ones before it made */
export const applySchedule = (kernel: Fn, options: readonly Option[]): Fn => options.reduce(apply, kernel);

/** The kernel after one option.
 *  @throws ScheduleError if it is not legal there */
export function apply(kernel: Fn, option: Option): Fn {
  const nests = placedNests(kernel);
  const place = nests[option.nest];
  if (!place)
    throw new ScheduleError(`${option.option}: there is no nest ${option.nest}; ${kernel.name} has ${nests.length}`);
  const { nest } = place;
  const around = place.around.filter((l) => l.attr.kind === "parallel").map(rangeOfLoop);
  return within(kernelNode(kernel).scope, () => {
    let next = nextIds(kernel).range;
    const newRange: Site["newRange"] = (extent, kind) => makeRange(next++, extent, kind);
    const made = rewrite({ option, kernel, nest, ranges: rangesIn(nest.src), around, newRange });
    return replaceNests(kernel, (other, i) => (i === option.nest ? made : [other]));
  });
}

function rewrite(site: Site): readonly NestNode[] {
  const { option } = site;
  switch (option.option) {
    case "collapse":
      return [collapse(site, option.ranges)];
    case "split":
      return [split(site, option.range, option.factor)];
    case "peel":
      return peel(site, option.range, option.at);
    case "pad":
      return [pad(site, option.range, option.multiple)];
    case "reorder":
      return [reorder(site, option.order)];
    case "unroll":
      return [withKind(site, output(site, option.range), "unroll")];
    case "parallel":
      requireNo(site, "parallel");
      return [withKind(site, output(site, option.range), "parallel")];
    case "vectorize":
      return [vectorize(site, option.range, option.lanes)];
    case "accumulateParts":
      return [accumulateParts(site, option.range, option.parts, option.lanes)];
    case "accumulateBlocks":
      return accumulateBlocks(site, option.range, option.block);
    case "stage":
      return stage(site, option);
    default:
      return applyWide(site, option);
  }
}

const requireCount = (site: Site, name: string, n: number, least = 1): void => {
  if (!Number.isSafeInteger(n) || n < least)
    refuse(site, `expected ${name} to be an integer of at least ${least}, got ${n}`);
};

/** A range of the output that is still a plain loop. */
function output(site: Site, id: number): RangeNode {
  const r = rangeOf(site, id);
  if (reduceIds(site.nest.src).has(id)) refuse(site, `range ${id} belongs to an accumulate`, "accumulateParts cuts it");
  if (r.attr.kind !== "loop") refuse(site, `range ${id} is of kind ${r.attr.kind} already`);
  return r;
}

const rebuilt = (site: Site, s: Substitution): Node[] => substitute(site.nest.src, s);

/** The order with some ids replaced by others, in place. */
const reordered = (order: readonly number[], changes: ReadonlyMap<number, readonly number[]>): number[] =>
  order.flatMap((id) => changes.get(id) ?? [id]);

function collapse(site: Site, ids: readonly number[]): NestNode {
  if (ids.length < 2) refuse(site, "expected two ranges or more");
  const ranges = ids.map((id) => rangeOf(site, id));
  const at = site.nest.attr.order.indexOf(ids[0] as number);
  const { kind } = (ranges[0] as RangeNode).attr;
  if (kind !== "loop" && kind !== "reduce") refuse(site, `range ${ids[0]} is of kind ${kind}`);
  if (ids.some((id, i) => site.nest.attr.order[at + i] !== id) || ranges.some((r) => r.attr.kind !== kind))
    refuse(site, `ranges [${ids.join(", ")}] are not neighbours of one kind`);
  for (const n of accumulatesIn(site.nest.src)) {
    const own = n.src.slice(1);
    const from = own.indexOf(ranges[0] as Node);
    const touched = ranges.filter((r) => own.includes(r)).length;
    if (touched > 0 && !(touched === ranges.length && ranges.every((r, i) => own[from + i] === r)))
      refuse(site, `an accumulate does not run over [${ids.join(", ")}] in this order`);
  }
  const flat = site.newRange(
    ranges.reduce((c, r) => c * r.attr.extent, 1),
    kind,
  );
  const parts = new Map<Node, Node>();
  let stride = 1;
  for (const r of ranges.toReversed()) {
    const { extent } = r.attr;
    // The outermost part has nothing beyond it.
    const quotient = divIndex(flat, stride);
    parts.set(r, extent === 0 ? constIndex(0) : r === ranges[0] ? quotient : modIndex(quotient, extent));
    stride *= Math.max(extent, 1);
  }
  const stores = rebuilt(site, {
    range: (r) => parts.get(r),
    over: (r) => (r === ranges[0] ? [flat] : parts.has(r) ? [] : undefined),
    chain: { ranges, flat },
  });
  return makeNest(
    stores,
    reordered(site.nest.attr.order, new Map(ids.map((id, i) => [id, i === 0 ? [flat.attr.id] : []]))),
  );
}

function split(site: Site, id: number, factor: number): NestNode {
  const r = rangeOf(site, id);
  requireCount(site, "the factor", factor);
  const { extent, kind } = r.attr;
  if (kind !== "loop" && kind !== "reduce") refuse(site, `range ${id} is of kind ${kind}`);
  if (extent === 0 || extent % factor !== 0)
    refuse(site, `${extent} iterations are not a multiple of ${factor}`, "peel or pad the range first");
  const outer = site.newRange(extent / factor, kind);
  const inner = site.newRange(factor, kind);
  const stores = rebuilt(site, {
    range: (n) => (n === r ? addIndex(mulIndex(outer, factor), inner) : undefined),
    over: (n) => (n === r ? [outer, inner] : undefined),
  });
  return makeNest(stores, reordered(site.nest.attr.order, new Map([[id, [outer.attr.id, inner.attr.id]]])));
}

function peel(site: Site, id: number, at: number): readonly NestNode[] {
  const r = output(site, id);
  requireCount(site, "the place", at);
  if (at >= r.attr.extent) refuse(site, `range ${id} has ${r.attr.extent} iterations: nothing is left from ${at} on`);
  if (site.nest.attr.order[0] !== id) requireIndependent(site, r);
  const first = makeRange(id, at, "loop");
  const main = makeNest(rebuilt(site, { range: (n) => (n === r ? first : undefined) }), site.nest.attr.order);
  const fresh = new Map<RangeNode, RangeNode>();
  const ordered = [...site.ranges.values()].filter(isOwn).sort((a, b) => a.attr.id - b.attr.id);
  for (const n of ordered) fresh.set(n, site.newRange(n === r ? r.attr.extent - at : n.attr.extent, n.attr.kind));
  const moved = (n: RangeNode): RangeNode => fresh.get(n) ?? n;
  const rest = rebuilt(site, {
    range: (n) => (n === r ? addIndex(moved(n), constIndex(at)) : moved(n)),
    over: (n) => [moved(n)],
  });
  const ids = new Map([...fresh].map(([from, to]) => [from.attr.id, [to.attr.id]]));
  return [main, makeNest(rest, reordered(site.nest.attr.order, ids))];
}

/** Whether a range belongs to the nest rather than to a loop around it. */
const isOwn = (r: RangeNode): boolean => r.attr.kind !== "outer";

function pad(site: Site, id: number, multiple: number): NestNode {
  const r = output(site, id);
  requireCount(site, "the multiple", multiple);
  const { extent } = r.attr;
  if (extent === 0 || extent % multiple === 0)
    refuse(site, `range ${id} of ${extent} iterations needs no padding to a multiple of ${multiple}`);
  const longer = makeRange(id, Math.ceil(extent / multiple) * multiple, "loop");
  const inside = lt(longer, constIndex(extent));
  const stores = rebuilt(site, {
    range: (n) => (n === r ? longer : undefined),
    guard: { condition: inside, needs: (index, buffer) => reaches(index, longer) && !staysInside(index, buffer) },
  });
  const guarded = stores.map((s) => build("store", [...s.src.slice(0, 3), allOf([s.src[3], inside]) as Node], {}));
  return makeNest(guarded, site.nest.attr.order);
}

function staysInside(index: Node, buffer: Node): boolean {
  const [lo, hi] = bounds(index);
  const size = tensorTypeOf(buffer).dims[0];
  return lo >= 0 && typeof size === "number" && hi < size;
}

function reorder(site: Site, order: readonly number[]): NestNode {
  const old = site.nest.attr.order;
  if (order.length !== old.length || new Set(order).size !== order.length || order.some((id) => !old.includes(id)))
    refuse(site, `expected an order of [${old.join(", ")}], got [${order.join(", ")}]`);
  const inner = reduceIds(site.nest.src);
  const fixed = (ids: readonly number[]): string => ids.filter((id) => inner.has(id)).join(" ");
  if (fixed(order) !== fixed(old))
    refuse(site, "the ranges of an accumulate keep their order, as the order of a sum is part of its meaning");
  // Iterations that may meet in memory keep their order.
  const bound = (ids: readonly number[]): string =>
    ids.filter((id) => !inner.has(id) && !isIndependent(site, rangeOf(site, id))).join(" ");
  if (bound(order) !== bound(old)) refuse(site, "iterations that write one place would change their order");
  const made = makeNest(site.nest.src, order);
  if (made.attr.order.some((id, i) => id !== order[i]))
    refuse(site, `expected loops outside, then reduce, unroll and vector ranges, got [${order.join(", ")}]`);
  return made;
}

/** Whether no two iterations of the range touch one element that either of them writes: every store's index tells them apart, and
 *  what is stored is loaded only from the same place, or from one at a distance that tells them apart too (the element before,
 *  along another range). */
export function isIndependent({ nest }: Pick<Site, "nest">, r: RangeNode): boolean {
  const loads = loadsIn(nest.src);
  return storesOf(nest).every(({ src: [buffer, index, , mask] }) => {
    const others = storesOf(nest).filter((s) => s.src[0] === buffer && s.src[1] !== index);
    return (
      others.length === 0 &&
      tellsApart(index as Node, r, mask) &&
      loads.every((l) => l.src[0] !== buffer || staysApart(l.src[1] as Node, index as Node, r))
    );
  });
}

/** Whether a load and a store in different iterations of the range never meet. */
function staysApart(load: Node, store: Node, r: RangeNode): boolean {
  if (load === store) return true;
  const { terms, constant } = affine(subIndex(load, store));
  return terms.size === 0 && tellsApart(store, r, undefined, [{ stride: constant, span: 1 }]);
}

function requireIndependent(site: Site, r: RangeNode): void {
  if (!isIndependent(site, r)) refuse(site, `iterations of range ${r.attr.id} may write one place`);
}

function withKind(site: Site, r: RangeNode, kind: "unroll" | "parallel" | "vector"): NestNode {
  requireIndependent(site, r);
  if (kind === "unroll" && r.attr.extent > 64)
    refuse(site, `${r.attr.extent} instances are too many to lie side by side`, "split the range first");
  const changed = makeRange(r.attr.id, r.attr.extent, kind);
  return makeNest(rebuilt(site, { range: (n) => (n === r ? changed : undefined) }), site.nest.attr.order);
}

const requireNo = (site: Site, kind: "vector" | "parallel"): void => {
  if ([...site.ranges.values()].some((r) => r.attr.kind === kind)) refuse(site, `the nest has a ${kind} range already`);
};

function vectorize(site: Site, id: number, lanes: number): NestNode {
  const r = output(site, id);
  requireCount(site, "the lanes", lanes, 2);
  requireNo(site, "vector");
  if (r.attr.extent === lanes) return withKind(site, r, "vector");
  if (r.attr.extent % lanes !== 0)
    refuse(site, `${r.attr.extent} iterations are not a multiple of ${lanes} lanes`, "peel or pad the range first");
  requireIndependent(site, r);
  const nest = split(site, id, lanes);
  const inner = Math.max(...nest.attr.order);
  const after = { ...site, nest, ranges: rangesIn(nest.src) };
  return withKind(after, after.ranges.get(inner) as RangeNode, "vector");
}

const combiners = { sum: add, prod: mul, max, min } as const;

function accumulateParts(site: Site, id: number, parts: number, lanes: number): NestNode {
  const [r, sum] = reduced(site, id);
  requireCount(site, "the parts", parts, 2);
  requireCount(site, "the lanes", lanes);
  if (parts % lanes !== 0 || parts / lanes > 64) refuse(site, `${parts} parts cannot be cut into vectors of ${lanes}`);
  if (lanes > 1) requireNo(site, "vector");
  const { extent } = r.attr;
  const rounds = Math.floor(extent / parts);
  const rest = extent - rounds * parts;
  if (rounds === 0) refuse(site, `${extent} iterations are fewer than ${parts} parts`);
  if (rest > 0 && sum.src.length > 2)
    refuse(
      site,
      `${extent} iterations are not a multiple of ${parts}, and the accumulate has other ranges`,
      "collapse them first",
    );
  const round = rounds === 1 ? [] : [site.newRange(rounds, "reduce")];
  const side = parts === lanes ? [] : [site.newRange(parts / lanes, "unroll")];
  const lane = lanes === 1 ? [] : [site.newRange(lanes, "vector")];
  const place = [
    mulIndex(round[0] ?? constIndex(0), parts),
    mulIndex(side[0] ?? constIndex(0), lanes),
    lane[0] ?? constIndex(0),
  ].reduce(addIndex);
  const [main] = substitute([sum.src[0] as Node], { range: (n) => (n === r ? place : undefined) });
  const over = sum.src.slice(1).flatMap((n) => (n === r ? round : [n]));
  let total: Node = build("accumulate", [main as Node, ...over, ...side, ...lane], sum.attr);
  if (rest > 0) {
    const last = rest === 1 ? undefined : site.newRange(rest, "reduce");
    const [tail] = substitute([sum.src[0] as Node], {
      range: (n) => (n === r ? addIndex(last ?? constIndex(0), constIndex(rounds * parts)) : undefined),
    });
    total = combiners[sum.attr.kind](
      total,
      last ? build("accumulate", [tail as Node, last], sum.attr) : (tail as Node),
    );
  }
  const stores = rebuilt(site, { range: () => undefined, node: (n) => (n === sum ? total : undefined) });
  return makeNest(stores, reordered(site.nest.attr.order, new Map([[id, round.map((n) => n.attr.id)]])));
}
