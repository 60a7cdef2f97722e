/** The option that takes sums along columns row after row: memory gives rows that lie behind each other several times as fast as pieces
 *  of rows that lie under each other. */
import { dtypeOf, type Node } from "../../ir/node.ts";
import { tensorType } from "../../ir/type.ts";
import { add, build, scalar } from "../../ops/build.ts";
import { addIndex, flattenIndex, mulIndex } from "../../ops/indexing.ts";
import { makeNest, type NestNode, nextIds, type RangeNode, rangesIn, reduceIds } from "../nests.ts";
import { reduced, refuse, type Site } from "../option.ts";
import { substitute } from "../substitute.ts";

/** The partial sums of a column are kept in scratch memory, and those of all columns are taken on by a row at a time:
 *
 *    for m, n: out = accumulate sum(x(k, m, n)) over k
 *  → for m, p, n: partial[m][p][n] = 0
 *    for m, round, p, n: partial[m][p][n] += x(round · parts + p, m, n)
 *    for m, n: out = accumulate sum(partial[m][p][n]) over p
 *
 *  Each of them has the terms, in the order, that it has in `accumulateParts`. */
export function accumulateRows(site: Site, id: number, parts: number): readonly NestNode[] {
  const [r, sum] = reduced(site, id);
  const rounds = r.attr.extent / parts;
  if (!Number.isSafeInteger(parts) || parts < 2 || !Number.isSafeInteger(rounds) || rounds < 2)
    refuse(site, `${r.attr.extent} iterations are not several rounds of ${parts} parts`);
  if (sum.attr.kind !== "sum" || sum.src.length !== 2 || site.around.length > 0)
    refuse(site, "expected a sum over this range alone, outside of all loops");
  const inner = reduceIds(site.nest.src);
  const used = rangesIn(sum.src);
  const outputs = site.nest.attr.order.flatMap((of) => (inner.has(of) ? [] : (used.get(of) ?? [])));
  if (outputs.length === 0) refuse(site, "expected sums along columns, got a single one");
  const kind = [r, ...outputs].find(({ attr }) => attr.kind !== "loop" && attr.kind !== "reduce");
  if (kind) refuse(site, `range ${kind.attr.id} is of kind ${kind.attr.kind} already`);

  const extents = outputs.map(({ attr }) => attr.extent);
  const dims = extents.toSpliced(-1, 0, parts);
  const dtype = dtypeOf(sum);
  const count = dims.reduce((c, d) => c * d, 1);
  const scratch = build("scratch", [], { id: nextIds(site.kernel).scratch, type: tensorType(dtype, [count]) });
  /** Where the partial sum of a part lies. */
  const indexOf = (places: readonly Node[], part: Node): Node => flattenIndex(places.toSpliced(-1, 0, part), dims);
  const store = (index: Node, value: Node): Node => build("store", [scratch, index, value], {});
  const load = (index: Node): Node => build("load", [scratch, index], {});
  const ids = (ranges: readonly RangeNode[]): number[] => ranges.map(({ attr }) => attr.id);

  const flat = site.newRange(count, "loop");
  const cleared = makeNest([store(flat, scalar(0, dtype))], ids([flat]));

  const places = extents.map((extent) => site.newRange(extent, "loop"));
  const [round, part] = [site.newRange(rounds, "loop"), site.newRange(parts, "loop")];
  const fresh = new Map(outputs.map((n, i) => [n, places[i]]));
  const [value] = substitute([sum.src[0] as Node], {
    range: (n) => (n === r ? addIndex(mulIndex(round, parts), part) : fresh.get(n)),
  });
  const index = indexOf(places, part);
  const taken = makeNest(
    [store(index, add(load(index), value as Node))],
    ids([...places.slice(0, -1), round, part, ...places.slice(-1)]),
  );

  const over = site.newRange(parts, "reduce");
  const total = build("accumulate", [load(indexOf(outputs, over)), over], sum.attr);
  const stores = substitute(site.nest.src, { range: () => undefined, node: (n) => (n === sum ? total : undefined) });
  const order = site.nest.attr.order.map((n) => (n === id ? over.attr.id : n));
  return [cleared, taken, makeNest(stores, order)];
}
