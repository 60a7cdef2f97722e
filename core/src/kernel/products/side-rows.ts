/** Register tiles of convolutions whose rows are few: those of a small image, and of a window, where weights are derived. So few rows leave
 *  most registers empty or fill them with columns, which are then read from far away as often as there are tiles of rows; iterations of
 *  another range beside them are more rows of one tile. */
import { accumulatesIn, type RangeNode, rangesIn } from "../nests.ts";
import { outputIds } from "../plan.ts";
import type { Side, TileSize, WideRules } from "./tile-size.ts";

/** Rows of a tile from which on they are enough. */
const ENOUGH = 8;
/** The most rows of a tile, and iterations of the second range. */
const MOST = 14;
const MOST_BESIDE = 8;
/** Bytes in a cycle that a core reads of the second and of the third cache. */
const NEAR = 64;
const FAR = 16;
/** The most rows of a tile of one vector, which take as many elements as they do multiply-adds. */
const ALL = 28;

/** Cycles for one multiply-add of a tile, if two are done and two vectors or elements loaded in a cycle, while the columns' panel comes
 *  from the nearest cache that it fits. */
function cycles(rows: number, vectors: number, bytes: number, speed: number): number {
  const arithmetic = (rows * vectors) / 2;
  const loads = (rows + vectors) / 2;
  return Math.max(arithmetic, loads, (vectors * bytes) / speed) / (rows * vectors);
}

interface Candidate {
  readonly range: number;
  readonly count: number;
  readonly vectors: number;
  readonly cost: number;
}

export const side: WideRules["side"] = (plan, i, { m, n, lanes }) => {
  const nest = plan.nest(i);
  const [sum] = accumulatesIn(nest.src);
  const product = sum?.src[0];
  const rows = plan.range(i, m).attr.extent;
  if (!sum || !product || rows >= ENOUGH) return undefined;
  const { vectorRegisters } = plan.hardware.limits;
  const cache = plan.hardware.memory.find((l) => l.name === "l2")?.bytes ?? 2 ** 19;
  const steps = sum.src.slice(1).reduce((c, r) => c * (r as RangeNode).attr.extent, 1);
  const repeated = product.src.map((x) => rangesIn([x])).find((ranges) => !ranges.has(n));
  const width = Math.ceil(plan.range(i, n).attr.extent / lanes);
  const bytes = 4 * lanes;
  const tileOf = (range: number, count: number): Candidate => {
    const vectors = Math.max(1, Math.min(width, Math.floor((vectorRegisters - 1) / (rows * count + 1))));
    const speed = 2 * steps * vectors * bytes <= cache ? NEAR : FAR;
    // Columns that are left over cost about as much as whole tiles.
    const over = (Math.ceil(width / vectors) * vectors) / width;
    return { range, count, vectors, cost: over * cycles(rows * count, vectors, bytes, speed) };
  };
  let best = tileOf(m, 1);
  for (const range of outputIds(nest)) {
    if (range === m || repeated?.has(range) !== true) continue;
    const { extent } = plan.range(i, range).attr;
    for (let count = 2; count <= Math.min(extent, MOST_BESIDE) && count * rows <= MOST; count++) {
      const tile = tileOf(range, count);
      // Of equal ones that with more rows: memory may be slower than is thought here.
      const isBetter = tile.cost < best.cost || (tile.cost === best.cost && count > best.count);
      if (extent % count === 0 && isBetter) best = tile;
    }
  }
  // What is larger than a near cache comes from far away at each call: as few tiles of rows as can be wait for it, and one vector at a
  // time, which it comes fast enough for. The rows of two tiles find the columns of one vector near.
  const isFar = steps * width * bytes > 2 * cache && 2 * steps * bytes <= cache;
  if (best.range === m && isFar && vectorRegisters > ALL + 2)
    for (const range of outputIds(nest)) {
      const { extent } = plan.range(i, range).attr;
      const count = Math.min(extent, Math.floor(ALL / rows));
      if (range !== m && repeated?.has(range) === true && count > 1 && 2 * count >= extent && extent <= MOST_BESIDE)
        best = { range, count, vectors: 1, cost: 0 };
    }
  return best.range === m ? undefined : sideOf({ rows, vectors: best.vectors }, best.range, best.count);
};

const sideOf = (size: TileSize, range: number, count: number): Side => ({
  ...size,
  peel: (plan, i) => {
    const { extent } = plan.range(i, range).attr;
    return extent > count && extent % count !== 0 ? plan.peel(i, range, extent - (extent % count)) : undefined;
  },
  unroll: (plan, i) => {
    const isWhole = plan.range(i, range).attr.extent <= count;
    if (!isWhole) plan.add({ option: "split", nest: i, range, factor: count });
    plan.tries({ option: "unroll", nest: i, range: isWhole ? range : plan.newest(i) });
  },
  moved: (ids) => sideOf(size, ids.get(range) as number, count),
});
