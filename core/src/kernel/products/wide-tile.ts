/** Register tiles of machines with vectors of more than four lanes, or more than sixteen registers. */
import { byteSize } from "../../ir/dtype.ts";
import { dtypeOf, type Node, type ReduceKind } from "../../ir/node.ts";
import { affine } from "../../ops/indexing.ts";
import { greatestDivisor, PANELS } from "./gemm.ts";
import { schedulePacked } from "./gemm-blocks.ts";
import { scheduleBytes } from "./gemm-bytes.ts";
import { scheduleMatrix } from "./gemm-matrix.ts";
import { schedulePairs } from "./gemm-pairs.ts";
import { inPieces, usedScratch } from "./packed-pieces.ts";
import { contiguousRuns } from "../near-indices.ts";
import { type AccumulateNode, accumulatesIn, loadsIn, type RangeNode, reaches } from "../nests.ts";
import { laidAhead } from "./lay-ahead.ts";
import { lanesOf } from "../plan.ts";
import { side } from "./side-rows.ts";
import { stageAlong } from "./stage-along.ts";
import { moveSigns, pairTerms, stagePairs } from "./stage-pairs.ts";
import { accumulateRows } from "./sum-rows.ts";
import { sumRuns } from "./sum-runs.ts";
import { orderBlocks } from "./block-order.ts";
import { addWideRules, evenly, type TileShape, type TileSize, type WideRules } from "./tile-size.ts";

/** From here on products on such machines have tiles of their own. */
export const wideTiles = (): void =>
  addWideRules({
    tile: wideTile,
    liesAlong,
    isRagged,
    side,
    panels,
    inPieces,
    usedScratch,
    lanes: lanesOfLoop,
    packed,
    turnBlocks,
    narrower,
    isAcross,
    isByRows,
    apply,
    orderBlocks,
    isWindow,
    laidAhead,
  });

const apply: WideRules["apply"] = (site, option) => {
  if (option.option === "stagePairs") return stagePairs(site, option);
  if (option.option === "moveSigns") return moveSigns(site, option);
  if (option.option === "sumRuns") return sumRuns(site, option.range, option.run);
  if (option.option === "stageAlong") return stageAlong(site, option);
  if (option.option === "pairTerms") return pairTerms(site, option.range);
  return accumulateRows(site, option.range, option.parts);
};

/** More than a tenth; rows of one vector are as good as those: it waits for more elements of weights than there are multiply-adds to do. */
const isRagged: WideRules["isRagged"] = (extent, lanes) =>
  extent <= lanes || extent < 0.9 * lanes * Math.ceil(extent / lanes);

const packed: WideRules["packed"] = (plan, i, pack) => {
  const lanes = lanesOf(plan, i);
  const isOne = accumulatesIn(plan.nest(i).src).length === 1;
  return (
    (isOne ? scheduleMatrix(plan, i, lanes, pack) : undefined) ??
    (isOne ? schedulePairs(plan, i, lanes, pack) : undefined) ??
    scheduleBytes(plan, i, lanes) ??
    (isOne ? schedulePacked(plan, i, lanes, pack) : undefined)
  );
};

function wideTile(registers: number, { count, width, windowed, turned: isRead, long, of }: TileShape): TileSize {
  const isMany = registers >= 32;
  const turned = isRead || (of !== undefined && liesAlong(of.sum, of.operand));
  // Vectors that fit beside so many rows. One row alone takes each vector from memory.
  const beside = (rows: number): number =>
    rows === 1 ? (3 * registers) / 4 : Math.max(1, Math.floor((registers - 1) / (rows + 1)));
  // Rows of one tile, if they are all: each tile reads the columns anew.
  const most = isMany ? 14 : turned ? 12 : 6;
  if (count <= most) {
    // Long rows of memory are read in long pieces, yet threads need several tiles to share.
    const share = count === 1 ? Math.max(8, Math.floor(width / 4)) : width;
    return { rows: count, vectors: long ? 2 : turned ? 1 : Math.max(1, Math.min(beside(count), width, share)) };
  }
  // Rows of an image that are whole tiles of some vectors leave nothing over.
  const even = evenly(count, most);
  if (windowed && isMany && count % even === 0 && beside(even) * even >= EVEN)
    return { rows: even, vectors: Math.min(beside(even), width) };
  // Rows that are packed: eight neighbours are moved as one vector, six are not.
  const isPacked = of !== undefined && !windowed && !long && !liesAlong(of.sum, of.operand === 0 ? 1 : 0);
  if (isMany && isPacked && width >= 3) return { rows: 8, vectors: 3 };
  const best = 6;
  const vectors = Math.max(1, Math.min(long ? 2 : beside(best), width));
  // Few columns leave registers for more rows.
  const tall = evenBelow((registers - 1 - vectors) / vectors);
  const rows = Math.max(best, Math.min(isMany ? 14 : 12, tall));
  return { rows: windowed ? evenly(count, rows) : rows, vectors };
}

/** Accumulators of even tiles that are as good as the most. */
const EVEN = 24;

const evenBelow = (n: number): number => Math.floor(n / 2) * 2;

const turnBlocks: WideRules["turnBlocks"] = (plan, i, sum, { operand, lanes }) => {
  const [k] = sum.src.slice(1) as RangeNode[];
  if (k && liesAlong(sum, operand) && k.attr.extent !== lanes)
    plan.tries({ option: "split", nest: i, range: k.attr.id, factor: lanes });
};

/** Panels of at most so many rows or columns are short pieces of what is packed: more of them are packed at a time. */
const LOW = 16;
const LOW_PANELS = 8;

function panels(count: number, length: number): number {
  if (length > LOW) return Math.min(PANELS, count);
  const even = greatestDivisor(count, LOW_PANELS);
  return Math.min(even < PANELS ? LOW_PANELS : even, count);
}

/** A short loop is one vector where there are vectors of its length. */
const lanesOfLoop = (extent: number, most: number): number =>
  extent < most && [4, 8].includes(extent) ? extent : most;

/** Loops of more vectors have more to do than their last iterations. */
const FEW_VECTORS = 8;

function narrower(left: number, extent: number, lanes: number): number {
  if (left < 4 || extent >= FEW_VECTORS * lanes) return 0;
  return left >= lanes ? lanes : left >= 8 ? 8 : 4;
}

/** What is the same for all terms is read once. */
function isAcross(value: Node, along: RangeNode, reduced: RangeNode, run: number): boolean {
  const across = loadsIn([value]).filter(
    ({ src: [, index] }) => reaches(index as Node, reduced) && affine(index as Node).terms.get(along) === 1,
  );
  return across.length >= contiguousRuns(value, reduced, run);
}

/** Fewer bytes of a row lie in the registers of one pass; partial sums of more bytes than this leave the second cache no room. */
const SHORT_ROW = 256;
const MOST_PARTIAL = 2 ** 18;
/** Rounds that are worth clearing partial sums for, and adding them up. */
const ENOUGH_ROUNDS = 8;

/** Rows that are read whole and once, one behind the other. */
function isByRows(sum: AccumulateNode, along: RangeNode, reduced: RangeNode, parts: number): boolean {
  const rounds = reduced.attr.extent / parts;
  const bytes = along.attr.extent * byteSize(dtypeOf(sum), 1);
  return (
    sum.attr.kind === "sum" &&
    sum.src.length === 2 &&
    Number.isInteger(rounds) &&
    rounds >= ENOUGH_ROUNDS &&
    bytes > SHORT_ROW &&
    bytes * parts <= MOST_PARTIAL &&
    loadsIn(sum.src).some(({ src: [, index] }) => affine(index as Node).terms.get(reduced) === along.attr.extent)
  );
}

const isWindow = (kind: ReduceKind, extents: readonly number[]): boolean =>
  (kind === "max" || kind === "min") && extents.length > 1 && extents.reduce((n, e) => n * e) <= 64;

function liesAlong(sum: AccumulateNode, operand: 0 | 1): boolean {
  const [k, ...more] = sum.src.slice(1) as RangeNode[];
  if (!k || more.length > 0) return false;
  const strides = loadsIn([(sum.src[0] as Node).src[operand] as Node]).map(({ src: [, index] }) => {
    const { terms } = affine(index as Node);
    const isPlain = [...terms.keys()].every((atom) => atom === k || !reaches(atom, k));
    return isPlain ? (terms.get(k) ?? 0) : undefined;
  });
  return strides.includes(1) && strides.every((stride) => stride === 0 || stride === 1);
}
