/** Products of which some rows at a time are packed, multiplied, and forgotten, where all of them would be more than caches hold: memory would
 *  take what is packed, and give it back, in a tenth of the time of the whole product (Goto & van de Geijn 2008, section 4: the packed
 *  block stays in a cache). Pieces are nests behind each other, with panels in the same scratch memory. */
import { nextIds } from "./nests.ts";
import type { WideRules } from "./tile-size.ts";

/** Bytes of packed rows that a third cache holds beside all else. */
const AT_A_TIME = 2 ** 22;
/** Pieces are code of their own. */
const PIECES = 8;
/** Tiles of rows that can be cut evenly. */
const EVEN_TILES = 24;

export const inPieces: WideRules["inPieces"] = (plan, { product, start, tile, terms }, piece, moved) => {
  const { m, rows } = tile;
  if (m === undefined) return undefined;
  const bytes = 4 * plan.range(product, m).attr.extent * terms;
  if (bytes <= 2 * AT_A_TIME) return undefined;
  const pieces = Math.min(PIECES, Math.ceil(bytes / AT_A_TIME));
  const even = EVEN_TILES * rows;
  const most = Math.ceil(plan.range(product, m).attr.extent / pieces / even) * even;
  const { scratch } = nextIds(plan.kernel());
  let rest = plan.range(product, m).attr.extent > most ? plan.peel(product, m, most) : undefined;
  let at = piece(product, start, tile);
  for (let left = tile; rest; ) {
    left = moved(left, rest);
    const range = left.m as number;
    rest = plan.range(at, range).attr.extent > most ? plan.peel(at, range, most) : undefined;
    at = piece(at, at, left, scratch);
  }
  return at;
};
