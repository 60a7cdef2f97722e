/** Schedules of a dot by weights of few bits (blocks, bf16, f16), where they and x lie along k. They are decoded in registers where they
 *  are used, and nothing else is kept of them.
 *
 *  With vectors of L lanes term k is added to partial sum k mod L, in order of k, and the L sums are combined in halves; what is left
 *  of k behind whole vectors is added in order and comes last. Long sums of numbers that are no blocks are cut in runs of some 1,024 terms,
 *  whose partial sums are added lane by lane. That follows from the extent of k and the width of the hardware's vectors
 *  alone, so a row has the same bits alone and in a batch, whatever tile it lies in.
 *
 *  Lanes along k read codes and x as they lie, and a block's scale is the same for all of them. A tile of r rows and c columns decodes
 *  c vectors for r·c fused multiply-adds. Columns go in blocks that stay in a cache while all rows pass.
 *
 *  One row of bytes, with sums of integers, goes by instructions that add four products: a lane is four neighbours along k. */
import { topological } from "../../ir/fn.ts";
import { byteSize } from "../../ir/dtype.ts";
import { dtypeOf, type Node } from "../../ir/node.ts";
import { affine } from "../../ops/indexing.ts";
import { byteProduct, TERMS } from "./byte-product.ts";
import { blockColumns, cutRows, movedTile, orderTiles } from "./cut-tiles.ts";
import {
  type AccumulateNode,
  accumulatesIn,
  kernelNode,
  loadsIn,
  type NestNode,
  type RangeNode,
  rangesIn,
  reaches,
} from "../nests.ts";
import { outputIds, type Plan } from "../plan.ts";
import { evenly } from "./tile-size.ts";

interface Tile {
  /** The range of the rows of x, and that of the columns, which are rows of weights; absent where there is one. */
  readonly m: number | undefined;
  readonly n: number | undefined;
  readonly rows: number;
  readonly columns: number;
}

/** Elements that share a scale, at least: their codes are read together. */
const GROUP = 32;
/** Elements of a block that has blocks with scales of their own in it. */
const LARGE = 256;
/** Terms of a run of a long sum. */
const RUN = 1024;
const SHORTEST_RUN = 512;
const LONGEST_RUN = 2048;
/** Columns of a block. */
const BLOCK = 64;
/** Columns that are many tiles. */
const MANY = 64;
/** Columns of a tile, at most. */
const COLUMNS = 4;
/** Bytes of weights that a core reads from memory while one addition follows another. */
const WHILE_ADDING = 32;
/** Of an element of x. */
const XBYTES = 4;
/** Of the first two caches, where nothing is known of them. */
const FIRST = 2 ** 15;
const SECOND = 2 ** 19;

const sumOf = (nest: NestNode): AccumulateNode => accumulatesIn(nest.src)[0] as AccumulateNode;

/** Schedules nest i, if it is such a product, and returns the position behind it and those that it becomes.
 *  @param pack  schedules the nest that computes x */
export function schedulePacked(
  plan: Plan,
  i: number,
  lanes: number,
  pack: (plan: Plan, i: number) => number,
): number | undefined {
  const [product, k, ...more] = sumOf(plan.nest(i)).src;
  if (product?.op !== "mul" || k?.op !== "range" || more.length > 0) return undefined;
  if (!product.src.every((s) => isAlong(s, k, lanes))) return undefined;
  const operand = product.src.findLastIndex(isPacked);
  if (operand < 0 || k.attr.extent < lanes) return undefined;
  const [w, x] = [product.src[operand], product.src[1 - operand]].map((s) => rangesIn([s as Node]));
  const isLong = topological([product.src[operand] as Node], (n) => n.op !== "load").length > 64;
  const longest = (ids: readonly number[]): number | undefined =>
    ids.toSorted((a, b) => plan.range(i, b).attr.extent - plan.range(i, a).attr.extent)[0];
  const outputs = outputIds(plan.nest(i));
  const m = longest(outputs.filter((id) => x?.has(id) && !w?.has(id)));
  const n = longest(outputs.filter((id) => w?.has(id) && !x?.has(id)));
  const before = plan.count();
  if (isComputed(plan, i, product.src[1 - operand] as Node, n) && !isInLoop(plan))
    plan.add({ option: "stageAlong", nest: i, operand: (1 - operand) as 0 | 1, range: k.attr.id });
  if (plan.count() > before) return schedulePacked(plan, pack(plan, i), lanes, pack);
  // Integers have the same sum in any order.
  const inBytes = byteProduct(sumOf(plan.nest(i))) !== undefined && k.attr.extent % (TERMS * lanes) === 0;
  let terms = k.attr.id;
  if (inBytes) {
    plan.add({ option: "accumulateParts", nest: i, range: terms, parts: TERMS, lanes: 1 });
    terms = (sumOf(plan.nest(i)).src.slice(1) as RangeNode[]).find((r) => r.attr.kind === "reduce")?.attr.id ?? terms;
  }
  plan.add({ option: "accumulateParts", nest: i, range: terms, parts: lanes, lanes });
  const round = accumulatesIn(plan.nest(i).src)
    .flatMap((sum) => sum.src.slice(1) as RangeNode[])
    .find((r) => r.attr.kind === "reduce");
  if (round && !inBytes) cutRounds(plan, i, round, (isLong ? LARGE : GROUP) / lanes);
  if (!inBytes && loadsIn([product.src[operand] as Node]).length === 1) cutRuns(plan, i);
  const registers = plan.hardware.limits.vectorRegisters >= 32 ? 24 : 8;
  const count = m === undefined ? 1 : plan.range(i, m).attr.extent;
  const rows = evenly(count, registers / 4);
  const columns =
    count === 1 && !inBytes
      ? streams(plan, i, k.attr.extent, n, product.src[operand] as Node, lanes)
      : Math.min(COLUMNS, Math.floor(registers / rows));
  return tileColumns(plan, i, { m, n, rows, columns });
}

/** Whether x is worth computing once: for each tile of columns it takes operations of its own. */
function isComputed(plan: Plan, i: number, x: Node, n: number | undefined): boolean {
  const columns = n === undefined ? 1 : plan.range(i, n).attr.extent;
  return columns >= MANY && topological([x], (node) => node.op !== "load").length > 2;
}

const isInLoop = (plan: Plan): boolean => kernelNode(plan.kernel()).src.some((item) => item.op === "loop");

/** Rows of weights that are read at a time for one row of x: memory gives them fastest in the order in which they lie. Blocks take longer
 *  to decode than memory to answer, and what is in a cache is waited for less long than sums are. A row of x that leaves no room in the
 *  first cache beside itself is read once for several rows. */
function streams(plan: Plan, i: number, k: number, n: number | undefined, w: Node, lanes: number): number {
  const [load, ...more] = loadsIn([w]);
  if (!load || more.length > 0) return COLUMNS;
  const bytes = byteSize(dtypeOf(load), 1);
  const cache = (name: string): number | undefined => plan.hardware.memory.find((level) => level.name === name)?.bytes;
  if (1.5 * k * XBYTES > (cache("l1") ?? FIRST)) return COLUMNS;
  const near = cache("l2") ?? SECOND;
  const columns = n === undefined ? 1 : plan.range(i, n).attr.extent;
  return columns * k * bytes > near ? Math.max(1, Math.min(COLUMNS, WHILE_ADDING / (lanes * bytes))) : COLUMNS;
}

/** Cuts the rounds over k in blocks, and those in halves, so that each part of an index within a block is a range of its own. */
function cutRounds(plan: Plan, i: number, round: RangeNode, block: number): void {
  let range = round.attr.id;
  for (let factor = block; factor > 1; factor /= 2) {
    const { extent } = plan.range(i, range).attr;
    if (extent === factor) continue;
    if (!plan.tries({ option: "split", nest: i, range, factor })) return;
    const order = accumulatesIn(plan.nest(i).src).flatMap((sum) => sum.src.slice(1) as RangeNode[]);
    range = order.findLast((r) => r.attr.kind === "reduce")?.attr.id ?? range;
  }
}

/** Cuts the sum in runs of about so many terms as a processor looks ahead over: the additions of one row, each of which waits for the one before,
 *  take longer than memory does to give it. */
function cutRuns(plan: Plan, i: number): void {
  const [round, ...inside] = sumOf(plan.nest(i)).src.slice(1) as [RangeNode, ...RangeNode[]];
  const { extent, kind } = round.attr;
  if (kind !== "reduce") return;
  const of = inside.reduce((terms, r) => terms * r.attr.extent, 1);
  const runs = Array.from({ length: Math.floor(LONGEST_RUN / of) }, (_, at) => at + 1).filter(
    (run) => run * of >= SHORTEST_RUN && extent % run === 0 && run < extent,
  );
  const run = runs.toSorted((a, b) => Math.abs(a * of - RUN) - Math.abs(b * of - RUN))[0];
  if (run) plan.tries({ option: "sumRuns", nest: i, range: round.attr.id, run });
}

/** Whether an operand is made of integers or short floats of memory alone. */
function isPacked(w: Node): boolean {
  const loads = loadsIn([w]);
  return loads.length > 0 && loads.every((l) => !["f32", "f64", "bool", "i32", "u32", "i64"].includes(dtypeOf(l)));
}

/** Whether so many neighbours along k are neighbours in memory, or the same, for each of the operand's loads. */
export function isAlong(w: Node, k: RangeNode, lanes: number): boolean {
  return loadsIn([w]).every((l) => {
    if (l.src.length > 2) return false;
    const { terms } = affine(l.src[1] as Node);
    return [...terms].every(([atom, stride]) => isFlat(atom, k, lanes) || (stride === 1 && isStep(atom, k, lanes)));
  });
}

/** Whether an atom of an index goes up by 1 along each run of so many of k: k itself, or its rest. */
const isStep = (atom: Node, k: RangeNode, lanes: number): boolean =>
  atom === k || (atom.op === "mod" && isStep(atom.src[0] as Node, k, lanes) && isMultiple(atom.src[1], lanes));

/** Whether it is the same along each of them: a quotient, or what depends on quotients alone. */
function isFlat(atom: Node, k: RangeNode, lanes: number): boolean {
  if (!reaches(atom, k)) return true;
  if (atom.op === "idiv" && isStep(atom.src[0] as Node, k, lanes)) return isMultiple(atom.src[1], lanes);
  return atom !== k && atom.src.every((s) => isFlat(s, k, lanes));
}

const isMultiple = (n: Node | undefined, of: number): boolean => n?.op === "const" && n.attr.value % of === 0;

/** Cuts the columns into whole tiles and what is left. */
function tileColumns(plan: Plan, i: number, tile: Tile): number {
  const { n, columns } = tile;
  if (n === undefined) return cutRows(plan, i, tile, registerTile);
  const { extent } = plan.range(i, n).attr;
  const whole = Math.floor(extent / columns) * columns;
  const rest = whole > 0 && whole < extent ? plan.peel(i, n, whole) : undefined;
  const next = cutRows(plan, i, whole > 0 ? tile : { ...tile, columns: extent }, registerTile);
  return rest ? tileColumns(plan, next, movedTile(tile, rest)) : next;
}

/** One nest of equal tiles: blocks of columns, rows, the columns of a block, k. */
function registerTile(plan: Plan, i: number, { m, n, rows, columns }: Tile): number {
  const side: number[] = [];
  const cut = (id: number, factor: number): number | undefined => {
    const { extent } = plan.range(i, id).attr;
    if (factor > 1 && extent > factor) {
      plan.add({ option: "split", nest: i, range: id, factor });
      side.push(plan.newest(i));
      return plan.newest(i) - 1;
    }
    if (extent > factor) return id;
    side.push(id);
    return undefined;
  };
  const rowTiles = m === undefined ? undefined : cut(m, rows);
  const columnTiles = n === undefined ? undefined : cut(n, columns);
  const front = blockColumns(plan, i, columnTiles, rowTiles, Math.floor(BLOCK / columns));
  for (const id of side) plan.tries({ option: "unroll", nest: i, range: id });
  orderTiles(plan, i, front);
  return i + 1;
}
