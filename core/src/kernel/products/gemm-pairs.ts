/** Schedules of products of bf16 and of bytes by instructions that add two or four products at a time, where the result's columns are lanes.
 *
 *  Pairs of bf16 are added in order of k, so a row has the same bits alone and in a batch, whatever tile it lies in; sums of integers are exact.
 *  The tiles are those of f32 (`gemm.ts`); panels hold neighbours along k as words (`stage-pairs.ts`), some panels at a time. A few rows are one
 *  tile, which reads the columns once: these are not packed then, but put together in registers, or, of bytes along k, left to `gemm-bytes.ts`. */
import type { Node } from "../../ir/node.ts";
import { affine } from "../../ops/indexing.ts";
import { chooseTile, moved, packWide, PANELS, type Tile, tileColumns } from "./gemm.ts";
import {
  type AccumulateNode,
  accumulatesIn,
  kernelNode,
  nextIds,
  type RangeNode,
  rangesIn,
  storesOf,
} from "../nests.ts";
import { firstOf, hasParts, loadsOf, type Part, PARTS, partOf, sizeOf, wordOf } from "./pair-product.ts";
import type { Plan } from "../plan.ts";
import { isAlong } from "./gemm-blocks.ts";

/** Schedules a nest that packs, and returns the position behind. */
type Pack = (plan: Plan, i: number) => number;

/** Bytes of panels that stay in a cache beside all else. */
const AT_A_TIME = 2 ** 21;
/** Pieces are code of their own. */
const PIECES = 8;
const WORD = 4;

const sumOf = (plan: Plan, i: number): AccumulateNode => accumulatesIn(plan.nest(i).src)[0] as AccumulateNode;

/** A product of bf16, or of bytes, of which rows and columns can be tiles of words. */
interface PartProduct {
  readonly product: Node;
  readonly parts: readonly [Part, Part];
  readonly k: RangeNode;
  readonly tile: Tile;
  readonly columns: RangeNode;
}

/** Such a product in nest i, whose columns one operand alone has, and which are neighbours where they are stored.
 *  @param isMultiplied  whether the processor multiplies such numbers, so many along k */
export function partProductIn(
  plan: Plan,
  i: number,
  lanes: number,
  isMultiplied: (part: Part, terms: number) => boolean,
): PartProduct | undefined {
  const [product, k, ...more] = sumOf(plan, i).src as [Node, RangeNode, ...Node[]];
  const [a, b] = product.src.map((s) => partOf(s)?.part);
  if (product.op !== "mul" || !a || !b || PARTS[a] !== PARTS[b] || more.length > 0) return undefined;
  if (!isMultiplied(a, k.attr.extent)) return undefined;
  const tile = chooseTile(plan, i, lanes);
  if (!tile || tile.windowed || tile.columnsFirst || tile.side) return undefined;
  const columns = plan.range(i, tile.n);
  const isStored = storesOf(plan.nest(i)).every((s) => affine(s.src[1] as Node).terms.get(columns) === 1);
  const isOwn = product.src.filter((s) => rangesIn([s]).has(tile.n)).length === 1;
  return isStored && isOwn ? { product, parts: [a, b], k, tile, columns } : undefined;
}

/** One whose sum is whole words, and whose columns fill a vector. */
export interface Pairs extends PartProduct {
  /** Whether all rows are one tile. */
  readonly isOneTile: boolean;
}

/** Such a product in nest i. */
export function pairsIn(plan: Plan, i: number, lanes: number): Pairs | undefined {
  const found = partProductIn(
    plan,
    i,
    lanes,
    (part, terms) => hasParts(plan.hardware, part) && terms % PARTS[part] === 0 && terms > PARTS[part],
  );
  if (!found || found.columns.attr.extent < lanes) return undefined;
  const { m, rows } = found.tile;
  return { ...found, isOneTile: m === undefined || plan.range(i, m).attr.extent <= rows };
}

/** Schedules nest i, if it is such a product, and returns the position behind it and those that it becomes. */
export function schedulePairs(plan: Plan, i: number, lanes: number, pack: Pack): number | undefined {
  const found = pairsIn(plan, i, lanes);
  if (!found) return undefined;
  const { product, k, tile, columns, isOneTile } = found;
  const [a, b] = found.parts;
  if (a !== "bf16" && isOneTile && product.src.every((s) => isAlong(s, k, PARTS[a]))) return undefined;
  if (!isOneTile && a === "i8" && b === "i8") {
    plan.add({ option: "moveSigns", nest: i, operand: tile.operand, range: k.attr.id });
    return i;
  }
  plan.add({ option: "pairTerms", nest: i, range: k.attr.id });
  const isTurned = isRead(plan, i, tile.operand);
  if (!isOneTile || !(isTurned || isAcross(plan, i, tile))) return packed(plan, i, tile, pack);
  const whole = Math.floor(columns.attr.extent / lanes) * lanes;
  const rest = whole < columns.attr.extent ? plan.peel(i, tile.n, whole) : undefined;
  const next = direct(plan, i, tile, isTurned, pack);
  return rest ? packed(plan, next, moved(tile, rest), pack) : next;
}

/** Columns that are read as they lie. */
function direct(plan: Plan, i: number, tile: Tile, isTurned: boolean, pack: Pack): number {
  const at = packRows(plan, i, tile, pack);
  const [, k] = sumOf(plan, at).src as [Node, RangeNode];
  const laid = isTurned ? besideIn(plan, at, tile) : 0;
  if (laid > 0) return tileColumns(plan, at, { ...tile, vectors: laid / tile.lanes });
  if (isTurned && k.attr.extent !== tile.lanes)
    plan.tries({ option: "split", nest: at, range: k.attr.id, factor: tile.lanes });
  return tileColumns(plan, at, tile);
}

/** Columns in panels, so many at a time as a cache holds: all of them would go to memory and come back. */
function packed(plan: Plan, i: number, tile: Tile, pack: Pack): number {
  const { n, operand, lanes, vectors } = tile;
  const start = packRows(plan, i, tile, pack);
  const [, k] = sumOf(plan, start).src as [Node, RangeNode];
  const panels = PANELS * vectors * lanes;
  const { extent: all } = plan.range(start, n).attr;
  const isIn = kernelNode(plan.kernel()).src.some((item) => item.op === "loop");
  const pieces = isIn ? 1 : Math.min(PIECES, Math.ceil((WORD * k.attr.extent * all) / AT_A_TIME));
  const most = Math.ceil(all / pieces / panels) * panels;
  const { scratch } = nextIds(plan.kernel());
  const isTurned = isRead(plan, start, operand);
  let at = start;
  for (let left: Tile | undefined = tile; left; ) {
    const piece: Tile = left;
    const { extent } = plan.range(at, piece.n).attr;
    const rest = extent > most ? plan.peel(at, piece.n, most) : undefined;
    const into = at === start ? undefined : scratch;
    const words = { operand, range: piece.n, tile: vectors * lanes, into };
    at = tileColumns(plan, packWords(plan, at, words, pack, isTurned ? lanes : undefined), piece);
    left = rest && moved(piece, rest);
  }
  return at;
}

/** Packs the rows, unless their pairs are words as they lie; returns the product's position. */
function packRows(plan: Plan, i: number, { m, operand, rows }: Tile, pack: Pack): number {
  const repeated = operand === 0 ? 1 : 0;
  if (m === undefined || isRead(plan, i, repeated)) return i;
  return packWords(plan, i, { operand: repeated, range: m, tile: rows }, pack);
}

/** Packs the words of an operand, and schedules the nests that do; returns the product's position.
 *  @param lanes  of blocks of words that are turned in registers, if there are such: their rows are read one after another as they lie */
export function packWords(
  plan: Plan,
  i: number,
  of: { readonly operand: 0 | 1; readonly range: number; readonly tile: number; readonly into?: number | undefined },
  pack: Pack,
  lanes?: number,
): number {
  const behind = plan.count() - i;
  plan.add({ option: "stagePairs", nest: i, ...of });
  let at = i;
  while (plan.count() - at > behind) {
    if (lanes !== undefined) alongRows(plan, at, lanes);
    at = packWide(plan, at, pack);
  }
  return at;
}

function alongRows(plan: Plan, i: number, lanes: number): void {
  const [k, inner] = plan.nest(i).attr.order.slice(-2);
  if (k === undefined || inner === undefined || plan.range(i, inner).attr.extent <= lanes) return;
  if (!plan.tries({ option: "split", nest: i, range: inner, factor: lanes })) return;
  const lane = plan.newest(i);
  const rest = plan.nest(i).attr.order.filter((id) => id !== k && id !== lane);
  plan.tries({ option: "reorder", nest: i, order: [...rest, k, lane] });
}

const wordIn = (plan: Plan, i: number, operand: 0 | 1): Node =>
  wordOf((sumOf(plan, i).src[0] as Node).src[operand] as Node)?.of as Node;

/** Whether an operand's words, moved or not, are words of memory. */
export function isRead(plan: Plan, i: number, operand: 0 | 1): boolean {
  const word = wordIn(plan, i, operand);
  return firstOf(word.op === "xor" ? (word.src[0] as Node) : word) !== undefined;
}

/** Columns whose words lie beside each other in memory (`lay-ahead.ts`): whole vectors, or none. */
function besideIn(plan: Plan, i: number, { operand, n, lanes }: Tile): number {
  const load = firstOf(wordIn(plan, i, operand));
  const columns = plan.range(i, n);
  for (const [{ op, src }, step] of load ? affine(load.src[1] as Node).terms : []) {
    const [of, by] = src;
    const count = op === "mod" && of === columns && by?.op === "const" ? by.attr.value : 0;
    if (load && step === sizeOf(load) && count % lanes === 0) return count;
  }
  return 0;
}

/** Whether an operand is read as it lies, and neighbours among its columns are neighbours there. */
function isAcross(plan: Plan, i: number, { operand, n }: Tile): boolean {
  const [load] = loadsOf(wordIn(plan, i, operand));
  return load !== undefined && affine(load.src[1] as Node).terms.get(plan.range(i, n)) === 1;
}
