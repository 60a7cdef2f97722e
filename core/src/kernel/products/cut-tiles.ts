/** What schedules of products in tiles have in common: rows cut into whole tiles and what is left of them, columns in blocks that stay in a
 *  cache while all rows pass, and the order of the loops over both. */
import { outputIds, type Plan } from "../plan.ts";

/** A tile's ranges: of the rows, absent where there is one, and of the columns. */
interface Rows {
  readonly m: number | undefined;
  readonly n: number | undefined;
  readonly rows: number;
}

/** The same tile in a nest that was peeled off, whose ranges have other ids. */
export const movedTile = <T extends Rows>(tile: T, ids: ReadonlyMap<number, number>): T => ({
  ...tile,
  m: tile.m === undefined ? undefined : ids.get(tile.m),
  n: tile.n === undefined ? undefined : (ids.get(tile.n) ?? tile.n),
});

/** Cuts the rows into whole tiles and what is left; `registerTile` schedules a nest of equal tiles.
 *  @returns the position behind all of them */
export function cutRows<T extends Rows>(
  plan: Plan,
  i: number,
  tile: T,
  registerTile: (plan: Plan, i: number, tile: T) => number,
): number {
  const { m, rows } = tile;
  if (m === undefined) return registerTile(plan, i, tile);
  const { extent } = plan.range(i, m).attr;
  const whole = Math.floor(extent / rows) * rows;
  const rest = whole > 0 && whole < extent ? plan.peel(i, m, whole) : undefined;
  const next = registerTile(plan, i, whole > 0 ? tile : { ...tile, rows: extent });
  return rest ? cutRows(plan, next, movedTile({ ...tile, rows: extent - whole }, rest), registerTile) : next;
}

/** Blocks of columns, rows, the columns of a block: the loops over tiles, outermost first.
 *  @param most  tiles of columns in a block, at most */
export function blockColumns(
  plan: Plan,
  i: number,
  columnTiles: number | undefined,
  rowTiles: number | undefined,
  most: number,
): readonly number[] {
  if (columnTiles === undefined || rowTiles === undefined)
    return [columnTiles, rowTiles].filter((id) => id !== undefined);
  const { extent } = plan.range(i, columnTiles).attr;
  let block = Math.min(extent, most);
  while (extent % block !== 0) block--;
  if (block <= 1 || block >= extent) return [columnTiles, rowTiles];
  plan.add({ option: "split", nest: i, range: columnTiles, factor: block });
  return [plan.newest(i) - 1, rowTiles, plan.newest(i)];
}

/** Puts these loops in front of what is within a tile, behind the other loops over outputs. */
export function orderTiles(plan: Plan, i: number, front: readonly number[]): void {
  const { order } = plan.nest(i).attr;
  const loops = outputIds(plan.nest(i)).filter((id) => plan.range(i, id).attr.kind === "loop");
  const others = loops.filter((id) => !front.includes(id));
  plan.tries({
    option: "reorder",
    nest: i,
    order: [...others, ...front, ...order.filter((id) => !loops.includes(id))],
  });
}
