/** Schedules of a dot. Every output adds its products in order of k, whatever tile it lies in, so a row has the same bits alone
 *  and in a batch.
 *
 *  The register tile is m × n outputs: with 16 vector registers 6 rows of 2 vectors are 12 accumulators, 2 vectors of the one operand
 *  and 1 element of the other, repeated; with 32 they are 6 rows of 4 (tile-size.ts). Where there are several tiles of rows,
 *  operands are packed first, so that the innermost loop reads memory in order (Goto & van de Geijn 2008; the 6-row tile as in
 *  BLIS's haswell configuration). A sum is not cut along k: the panels of one tile stay in the second cache up to k of some
 *  thousands, and reading them from there takes no time from the arithmetic. */
import { topological } from "../../ir/fn.ts";
import type { Node } from "../../ir/node.ts";
import { affine } from "../../ops/indexing.ts";
import {
  type AccumulateNode,
  accumulatesIn,
  loadsIn,
  type NestNode,
  type RangeNode,
  rangesIn,
  storesOf,
} from "../nests.ts";
import { collapseNeighbours, lanesOf, outputIds, type Plan, vectorizeInstances } from "../plan.ts";
import { isWide, type Side, tileSize, type TileSize, wideRules } from "./tile-size.ts";

export interface Tile extends TileSize {
  /** The range of the rows, whose elements of one operand are repeated over the lanes; absent where there is one row. */
  readonly m: number | undefined;
  /** The range of the lanes. */
  readonly n: number;
  /** The operand that depends on n. */
  readonly operand: 0 | 1;
  readonly lanes: number;
  /** Whether the sum runs over several ranges that are not one in memory, as that of a convolution. */
  readonly windowed: boolean;
  /** Whether one tile of columns goes over all else before the next: its panel then stays in a cache. */
  readonly columnsFirst: boolean;
  /** Another range of the repeated operand, so many of whose iterations are further rows. */
  readonly side: Side | undefined;
}

/** Products of fewer steps than this are not packed. */
const SMALL = 16384;
/** An operand that is read for at most so many tiles of the other one, and whose tiles are contiguous as it lies, is not packed:
 *  copying it would take as long as what it saves. */
const FEW_ROW_TILES = 6;
const FEW_COLUMN_TILES = 4;
const FEW_WIDE_COLUMN_TILES = 1;
/** Panels that are packed at a time. */
export const PANELS = 4;
/** Rows longer than this many elements lie on pages of their own: the innermost loop would read as many pages at once as a tile
 *  has rows. They are packed if there are many tiles of columns to read them. */
const LONG = 960;
/** Rows of an image of at least so many elements are lanes of vectors whatever is left over. */
const SHORT_ROW = 24;
const MANY_COLUMN_TILES = 48;
/** Neighbours along the rows of an image that are so many elements apart are not near each other. */
const FAR = 5;

const sumOf = (nest: NestNode): AccumulateNode => accumulatesIn(nest.src)[0] as AccumulateNode;

/** Schedules the nest and those that it becomes; returns the position behind them.
 *  @param pack schedules a nest that packs an operand */
export function scheduleProduct(plan: Plan, i: number, pack: (plan: Plan, i: number) => number): number {
  const lanes = lanesOf(plan, i);
  if (lanes === 1 || sumOf(plan.nest(i)).src[0]?.op !== "mul") return i + 1;
  collapseReduced(plan, i);
  collapseNeighbours(plan, i, outputIds(plan.nest(i)));
  const wide = wideRules(plan.hardware, lanes);
  const next = wide?.packed(plan, i, pack);
  if (next !== undefined) return next;
  const tile = chooseTile(plan, i, lanes);
  if (!tile) return i + 1;
  if (tile.m === undefined || !plan.choose("pack", +worthPacking(plan, i, tile))) {
    wide?.turnBlocks(plan, i, sumOf(plan.nest(i)), tile);
    return tileColumns(plan, i, tile);
  }
  const { m, n, operand } = tile;
  const before = plan.count();
  const steps = stepsOf(plan.nest(i));
  const repeated = operand === 0 ? 1 : 0;
  const [rowTiles, columnTiles] = [
    plan.range(i, m).attr.extent / tile.rows,
    plan.range(i, n).attr.extent / (tile.vectors * lanes),
  ];
  // The windows of a convolution overlap in memory: packed they would be as much larger as they overlap.
  const isCopied = (rowTiles > FEW_ROW_TILES && !tile.windowed) || !isContiguous(plan.nest(i), operand, n);
  if (plan.choose("packColumns", +isCopied))
    plan.add({ option: "stage", nest: i, operand, range: n, tile: tile.vectors * lanes });
  const main = i + plan.count() - before;
  const isFarApart = !wide && steps >= LONG && columnTiles >= MANY_COLUMN_TILES;
  const isRead =
    !isFarApart &&
    (isReadAlong(plan.nest(main), repeated) ||
      (tile.windowed && (strideAlong(plan.nest(main), repeated, m) ?? FAR) < FAR));
  const isApart =
    columnTiles > (wide ? FEW_WIDE_COLUMN_TILES : FEW_COLUMN_TILES) || !isContiguous(plan.nest(main), repeated, m);
  const isPacked = plan.choose("packRows", +(!isRead && isApart)) === 1;
  const panel = wide?.liesAlong(sumOf(plan.nest(main)), repeated) ? 1 : tile.rows;
  const piece = (product: number, at: number, of: Tile, into?: number): number => {
    const behind = plan.count() - product;
    if (isPacked)
      plan.add({ option: "stage", nest: product, operand: repeated, range: of.m as number, tile: panel, into });
    // The nests that pack lie before the product.
    while (plan.count() - at > behind) at = packWide(plan, at, pack);
    collapseReduced(plan, at);
    return tileColumns(plan, at, of);
  };
  const of = { product: main, start: i, tile, terms: steps };
  return (isPacked ? wide?.inPieces(plan, of, piece, moved) : undefined) ?? piece(main, i, tile);
}

/** Schedules a nest that packs. Where panels are cut from rows, several at a time: one alone reads half a cache line of each row. */
export function packWide(plan: Plan, i: number, pack: (plan: Plan, i: number) => number): number {
  const nest = plan.nest(i);
  const { order } = nest.attr;
  const inner = order.at(-1);
  const [load] = loadsIn(nest.src);
  if (inner === undefined || !load || load.src.length > 2) return pack(plan, i);
  const { terms } = affine(load.src[1] as Node);
  const stride = (id: number): number | undefined => terms.get(plan.range(i, id));
  const panel = order.find((id) => id !== inner && stride(id) === plan.range(i, inner).attr.extent);
  if (stride(inner) !== 1 || panel === undefined) return pack(plan, i);
  const { extent: panels } = plan.range(i, panel).attr;
  const wide = wideRules(plan.hardware, lanesOf(plan, i));
  const count = wide ? wide.panels(panels, plan.range(i, inner).attr.extent) : PANELS;
  if (count === 1 || panels < count) return pack(plan, i);
  const over = panels % count;
  if (over !== 0 && !(wide && plan.peel(i, panel, panels - over))) return pack(plan, i);
  plan.add({ option: "split", nest: i, range: panel, factor: count });
  const side = plan.newest(i);
  const rest = plan.nest(i).attr.order.filter((id) => id !== side && id !== inner);
  plan.tries({ option: "reorder", nest: i, order: [...rest, side, inner] });
  const next = pack(plan, i);
  plan.tries({ option: "unroll", nest: i, range: side });
  return next;
}

function collapseReduced(plan: Plan, i: number): void {
  collapseNeighbours(
    plan,
    i,
    sumOf(plan.nest(i))
      .src.slice(1)
      .map((r) => (r as RangeNode).attr.id),
  );
}

export function chooseTile(plan: Plan, i: number, lanes: number): Tile | undefined {
  const nest = plan.nest(i);
  const wide = wideRules(plan.hardware, lanes);
  const [x, y] = (sumOf(nest).src[0] as Node).src.map((s) => rangesIn([s])) as [
    Map<number, RangeNode>,
    Map<number, RangeNode>,
  ];
  const outputs = outputIds(nest);
  const extent = (id: number): number => plan.range(i, id).attr.extent;
  const longest = (ids: readonly number[]): number | undefined => ids.toSorted((a, b) => extent(b) - extent(a))[0];
  const free = [
    outputs.filter((id) => x.has(id) && !y.has(id)),
    outputs.filter((id) => y.has(id) && !x.has(id)),
  ] as const;
  const stored = outputs.find((id) =>
    storesOf(nest).every((s) => affine(s.src[1] as Node).terms.get(plan.range(i, id)) === 1),
  );
  const both = [...free[0], ...free[1]];
  const isWindow = sumOf(nest).src.length > 2;
  const steps = stored === undefined ? undefined : strideAlong(nest, free[0].includes(stored) ? 0 : 1, stored);
  // Of a window of one element nothing is left but its steps.
  const windowed = isWindow || (wide !== undefined && steps !== undefined && steps > 1 && steps < FAR);
  const across = stored === undefined || !windowed ? undefined : longest(free[free[0].includes(stored) ? 1 : 0]);
  // Short rows of an image fill few vectors, and elements that lie apart take several loads each; the channels, then, are the lanes,
  // and what they give is stored apart.
  const columnsFirst: boolean =
    stored !== undefined &&
    across !== undefined &&
    ((extent(stored) < SHORT_ROW && extent(stored) % (2 * lanes) !== 0) ||
      (wide !== undefined &&
        (wide.isRagged(extent(stored), lanes) || !isContiguous(nest, free[0].includes(stored) ? 0 : 1, stored)))) &&
    extent(across) >= 2 * lanes;
  const n = columnsFirst
    ? across
    : stored !== undefined && both.includes(stored) && extent(stored) >= lanes
      ? stored
      : (longest(both) ?? longest(outputs));
  if (n === undefined) return undefined;
  const operand = free[0].includes(n) ? 0 : 1;
  const m = columnsFirst
    ? stored
    : free[0].includes(n) || free[1].includes(n)
      ? longest(free[operand === 0 ? 1 : 0])
      : undefined;
  const side = columnsFirst && m !== undefined ? wide?.side(plan, i, { m, n, lanes }) : undefined;
  const size =
    side ??
    tileSize(plan.hardware, lanes, {
      count: m === undefined ? 1 : extent(m),
      width: Math.ceil(extent(n) / lanes),
      windowed,
      turned: isReadAlong(nest, operand),
      long: isLong(nest, operand),
      of: { sum: sumOf(nest), operand },
    });
  const rows = m === undefined ? 1 : plan.choose("rows", size.rows);
  return { m, n, operand, lanes, rows, vectors: plan.choose("vectors", size.vectors), windowed, columnsFirst, side };
}

/** The terms of a sum. */
const stepsOf = (nest: NestNode): number =>
  sumOf(nest)
    .src.slice(1)
    .reduce((c, r) => c * (r as RangeNode).attr.extent, 1);

/** Whether an element of the operand takes many operations, as one of a block of 4-bit weights does: side by side they would be
 *  more code than an engine compiles well. */
const isLong = (nest: NestNode, operand: 0 | 1): boolean =>
  topological([(sumOf(nest).src[0] as Node).src[operand] as Node], (n) => n.op !== "load").length > 24;

function worthPacking(plan: Plan, i: number, { m, n, lanes, rows, vectors, columnsFirst }: Tile): boolean {
  const steps = stepsOf(plan.nest(i));
  if (m === undefined) return false;
  const [rowCount, columns] = [plan.range(i, m).attr.extent, plan.range(i, n).attr.extent];
  return (
    (columnsFirst || rowCount >= 2 * rows) &&
    columns >= vectors * lanes &&
    steps >= 8 &&
    rowCount * columns * steps >= SMALL
  );
}

/** Whether an operand lies in memory along k: the elements of each row are repeated over the lanes from where they are. */
function isReadAlong(nest: NestNode, operand: 0 | 1): boolean {
  const sum = sumOf(nest);
  const x = (sum.src[0] as Node).src[operand] as Node;
  const [k, ...more] = sum.src.slice(1);
  return (
    x.op === "load" && x.src.length === 2 && more.length === 0 && affine(x.src[1] as Node).terms.get(k as Node) === 1
  );
}

/** How far apart neighbours along an output range are in an operand that is read as it lies. */
function strideAlong(nest: NestNode, operand: 0 | 1, id: number): number | undefined {
  const x = (sumOf(nest).src[0] as Node).src[operand] as Node;
  const r = rangesIn([x]).get(id);
  return r && x.op === "load" && x.src.length === 2 ? affine(x.src[1] as Node).terms.get(r) : undefined;
}

/** Whether an operand lies in memory along an output range. */
const isContiguous = (nest: NestNode, operand: 0 | 1, id: number): boolean => strideAlong(nest, operand, id) === 1;

export const moved = (tile: Tile, ids: ReadonlyMap<number, number>): Tile => ({
  ...tile,
  m: tile.m === undefined ? undefined : ids.get(tile.m),
  n: ids.get(tile.n) as number,
  side: tile.side?.moved(ids),
});

/** Cuts the columns into whole tiles and what is left, which is padded to whole vectors. */
export function tileColumns(plan: Plan, i: number, tile: Tile): number {
  const { n, lanes, vectors } = tile;
  const { extent } = plan.range(i, n).attr;
  const whole = Math.floor(extent / (lanes * vectors)) * lanes * vectors;
  if (whole === extent) return tileRows(plan, i, tile);
  const rest = whole > 0 ? plan.peel(i, n, whole) : undefined;
  const next = rest ? tileRows(plan, i, tile) : i;
  const last = rest ? moved(tile, rest) : tile;
  if (plan.range(next, last.n).attr.extent % lanes !== 0)
    plan.tries({ option: "pad", nest: next, range: last.n, multiple: lanes });
  return tileRows(plan, next, last);
}

/** Cuts the rows into whole blocks of tiles, whole tiles and one lower tile. */
function tileRows(plan: Plan, i: number, tile: Tile): number {
  const { m, rows } = tile;
  if (m === undefined) return registerTile(plan, i, tile, 1);
  const { extent } = plan.range(i, m).attr;
  const tiles = Math.floor(extent / rows);
  const wide = isWide(plan.hardware, tile.lanes);
  const most = tilesOfBlock(plan, i, rows, wide);
  const even = greatestDivisor(tiles, most);
  // A number of tiles without a good divisor leaves a shorter block behind; fast threads need many tiles to share.
  const block = (wide ? even >= Math.min(16, tiles) : 2 * even > Math.min(most, tiles)) ? even : most;
  const whole = Math.floor(tiles / block) * block * rows;
  const rest = whole > 0 && whole < extent ? plan.peel(i, m, whole) : undefined;
  const next = registerTile(plan, i, tile, block);
  return rest ? tileRows(plan, next, moved(tile, rest)) : next;
}

/** Tiles of rows of which half of the second cache holds a block; not few, as each block reads the other operand anew. */
function tilesOfBlock(plan: Plan, i: number, rows: number, wide: boolean): number {
  const steps = stepsOf(plan.nest(i));
  const cache = plan.hardware.memory.find((l) => l.name === "l2")?.bytes ?? 2 ** 19;
  const [least, most, part] = wide ? [24, 96, cache] : [8, 32, cache / 2];
  return plan.choose("block", Math.max(least, Math.min(most, Math.floor(part / (4 * rows * steps)))));
}

export function greatestDivisor(n: number, most: number): number {
  for (let d = Math.min(n, most); d > 1; d--) if (n % d === 0) return d;
  return 1;
}

/** One nest of equal tiles: blocks of rows, then columns, then the rows of a block, then k, with the tile's outputs side by side. */
function registerTile(plan: Plan, i: number, tile: Tile, block: number): number {
  const { m, n, lanes, rows, vectors, columnsFirst, side } = tile;
  const rest = side?.peel(plan, i);
  const front: number[] = [];
  const width = lanes * vectors;
  let columns = n;
  if (plan.range(i, n).attr.extent > width) {
    plan.add({ option: "split", nest: i, range: n, factor: width });
    columns = plan.newest(i);
    front.push(columns - 1);
  }
  vectorizeInstances(plan, i, columns, lanes);
  // An element that is repeated over the lanes is so for all vectors at once.
  const beside = columnsFirst && vectors > 1 ? plan.newest(i) - 1 : undefined;
  if (m !== undefined) {
    let row = m;
    if (plan.range(i, m).attr.extent > rows) {
      plan.add({ option: "split", nest: i, range: m, factor: rows });
      row = plan.newest(i);
      if (block > 1 && block < plan.range(i, row - 1).attr.extent) {
        plan.add({ option: "split", nest: i, range: row - 1, factor: block });
        front.unshift(plan.newest(i) - 1);
        front.push(plan.newest(i));
      } else front.push(row - 1);
    }
    plan.tries({ option: "unroll", nest: i, range: row });
  }
  side?.unroll(plan, i);
  const { order } = plan.nest(i).attr;
  const loops = outputIds(plan.nest(i)).filter((id) => ["loop", "parallel"].includes(plan.range(i, id).attr.kind));
  const others = loops.filter((id) => !front.includes(id));
  const outer = columnsFirst && columns !== n ? [columns - 1] : [];
  const sorted = [
    ...outer,
    ...others,
    ...front.filter((id) => !outer.includes(id)),
    ...order.filter((id) => !loops.includes(id) && id !== beside),
    ...order.filter((id) => id === beside),
  ];
  if (sorted.some((id, at) => id !== order[at])) plan.tries({ option: "reorder", nest: i, order: sorted });
  return rest ? registerTile(plan, i + 1, moved(tile, rest), block) : i + 1;
}
