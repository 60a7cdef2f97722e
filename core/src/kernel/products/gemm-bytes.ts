/** Schedules of sums of products of bytes: integers of 8 bits, or the codes of weights in blocks within sums of their own.
 *
 *  Four neighbours along k of one operand and of the other are a product and sum of one instruction for each lane, where there is one
 *  (`c-like/quads.ts`). The sum is cut in four parts for them; integers have the same sum in any order. Lanes are columns, whose rows of
 *  weights are turned in registers; a tile of several rows has them turned, and decoded, once. What is outside of the sum of integers,
 *  a sum over blocks, is in the order of the blocks, so every row has the same bits alone and in a batch, and on any width of vectors. */
import { dtypeOf, type Node } from "../../ir/node.ts";
import { affine } from "../../ops/indexing.ts";
import { byteProduct, loadOf, TERMS } from "./byte-product.ts";
import { blockColumns, cutRows, movedTile, orderTiles } from "./cut-tiles.ts";
import { type AccumulateNode, accumulatesIn, type NestNode, type RangeNode, rangesIn } from "../nests.ts";
import { outputIds, type Plan } from "../plan.ts";
import { isAlong } from "./gemm-blocks.ts";
import { evenly } from "./tile-size.ts";

interface Tile {
  /** The range of the rows; absent where there is one. */
  readonly m: number | undefined;
  readonly n: number;
  readonly rows: number;
  readonly lanes: number;
}

/** Rows of a tile: each has a sum of blocks, and one after another a sum of integers. */
const ROWS = 8;
/** The fewest lanes of a vector. */
const FEW_LANES = 4;
/** Of the first cache, where nothing is known of it. */
const NEAR = 32768;
/** Columns that stay in a cache while all rows pass. */
const BLOCK = 64;
/** Groups of four terms that are written out. */
const GROUPS = [8, 4, 2] as const;

/** The innermost sum of the nest, if it is one of products of bytes. */
const sumOf = (nest: NestNode): AccumulateNode | undefined =>
  accumulatesIn(nest.src).find((sum) => dtypeOf(sum) === "i32" && byteProduct(sum) !== undefined);

/** Schedules nest i, if it is such a product, and returns the position behind it and those that it becomes. */
export function scheduleBytes(plan: Plan, i: number, most: number): number | undefined {
  const found = bytesIn(plan, i);
  if (!found) return undefined;
  const { x, weights, n, stride, across } = found;
  const m = outputIds(plan.nest(i))
    .filter((id) => x.has(id) && !weights.has(id))
    .toSorted((a, b) => plan.range(i, b).attr.extent - plan.range(i, a).attr.extent)[0];
  const count = m === undefined ? 1 : plan.range(i, m).attr.extent;
  // A row alone waits for memory: the rows of a tile of weights are asked for while those before are read, and both stay in a cache.
  const near = plan.hardware.memory.find((level) => level.name === "l1")?.bytes ?? NEAR;
  const lanes = count === 1 && stride * most > near ? Math.max(most / 2, FEW_LANES) : most;
  // One row is read as fast with lanes along k, row of weights after row, as memory lies.
  const [sum, ...more] = accumulatesIn(plan.nest(i).src);
  const k = sum?.src[1] as RangeNode;
  if (count === 1 && more.length === 0 && k.attr.extent >= most && isAlong(across, k, TERMS)) return undefined;
  const rows = evenly(count, ROWS);
  return tileColumns(plan, i, { m, n, rows, lanes });
}

/** A sum of products of bytes of which columns can be lanes. */
interface Bytes {
  readonly n: number;
  /** The operand that depends on n, and how far apart its neighbours along n lie; 0 where they are no rows. */
  readonly across: Node;
  readonly stride: number;
  readonly weights: ReadonlyMap<number, RangeNode>;
  /** The ranges of the other one. */
  readonly x: ReadonlyMap<number, RangeNode>;
}

/** Such a sum in nest i. */
export function bytesIn(plan: Plan, i: number): Bytes | undefined {
  const nest = plan.nest(i);
  const sum = sumOf(nest);
  const [k, ...more] = (sum?.src.slice(1) ?? []) as RangeNode[];
  if (!sum || !k || more.length > 0 || k.attr.extent < TERMS || accumulatesIn(nest.src).length > 2) return undefined;
  const n = outputIds(nest).at(-1);
  if (n === undefined) return undefined;
  const [along, across] = (sum.src[0] as Node).src.toSorted((a, b) => +rangesIn([a]).has(n) - +rangesIn([b]).has(n));
  if (!along || !across || !isAlong(along, k, TERMS)) return undefined;
  const [x, weights] = [rangesIn([along]), rangesIn([across])];
  if (!weights.has(n) || x.has(n)) return undefined;
  const stride = affine(loadOf(across).src[1] as Node).terms.get(plan.range(i, n)) ?? 0;
  return isAlong(across, k, TERMS) || stride === 1 ? { n, across, stride, weights, x } : undefined;
}

/** Cuts the columns into whole vectors and what is left, for narrower ones; the last few are no vectors. */
function tileColumns(plan: Plan, i: number, tile: Tile): number {
  const { n, lanes } = tile;
  if (lanes < FEW_LANES) return i + 1;
  const { extent } = plan.range(i, n).attr;
  const whole = Math.floor(extent / lanes) * lanes;
  if (whole === 0) return tileColumns(plan, i, { ...tile, lanes: lanes / 2 });
  const rest = whole < extent ? plan.peel(i, n, whole) : undefined;
  if (whole < extent && !rest) return i + 1;
  const next = cutRows(plan, i, tile, registerTile);
  return rest ? tileColumns(plan, next, movedTile(tile, rest)) : next;
}

/** One nest of equal tiles: blocks of columns, rows, the columns of a block, blocks of k. */
function registerTile(plan: Plan, i: number, { m, n, rows, lanes }: Tile): number {
  let rowTiles = m;
  if (m !== undefined && plan.range(i, m).attr.extent > rows) {
    if (rows > 1) {
      plan.add({ option: "split", nest: i, range: m, factor: rows });
      rowTiles = plan.newest(i) - 1;
      plan.tries({ option: "unroll", nest: i, range: plan.newest(i) });
    }
  } else if (m !== undefined) {
    plan.tries({ option: "unroll", nest: i, range: m });
    rowTiles = undefined;
  }
  plan.add({ option: "vectorize", nest: i, range: n, lanes });
  const columnTiles = plan.range(i, n) ? undefined : plan.newest(i) - 1;
  const front = blockColumns(plan, i, columnTiles, rowTiles, Math.floor(BLOCK / lanes));
  cutTerms(plan, i);
  orderTiles(plan, i, front);
  return i + 1;
}

/** Four parts of the sum, and as many rounds of them as are written out. */
function cutTerms(plan: Plan, i: number): void {
  const k = sumOf(plan.nest(i))?.src[1] as RangeNode;
  if (!plan.tries({ option: "accumulateParts", nest: i, range: k.attr.id, parts: TERMS, lanes: 1 })) return;
  const round = (sumOf(plan.nest(i))?.src.slice(1) as RangeNode[] | undefined)?.find((r) => r.attr.kind === "reduce");
  if (!round || round.attr.extent <= GROUPS[0]) return;
  const factor = GROUPS.find((f) => round.attr.extent % f === 0);
  if (factor) plan.tries({ option: "split", nest: i, range: round.attr.id, factor });
}
