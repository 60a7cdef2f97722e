/** Products of which some rows at a time are packed, multiplied, and forgotten, where all of them would be more than caches hold: memory would
 *  take what is packed, and give it back, in a tenth of the time of the whole product (Goto & van de Geijn 2008, section 4: the packed
 *  block stays in a cache). Pieces are nests behind each other, with panels in the same scratch memory. */
import { topological } from "../../ir/fn.ts";
import { dtypeOf, tensorTypeOf } from "../../ir/node.ts";
import { kernelNode, loadsIn, nestsOf, nextIds } from "../nests.ts";
import { refuse } from "../option.ts";
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

export const usedScratch: WideRules["usedScratch"] = (site, id, like, dims) => {
  const { kernel, option } = site;
  const found = topological(kernel.results).find((n) => n.op === "scratch" && n.attr.id === id);
  const isRead = loadsIn(nestsOf(kernel).slice(option.nest)).some((load) => load.src[0] === found);
  const size = found && dtypeOf(found) === dtypeOf(like) ? (tensorTypeOf(found).dims[0] as number) : 0;
  const isIn = kernelNode(kernel).src.some((item) => item.op === "loop");
  if (!found || isRead || isIn || size < dims.reduce((c, d) => c * d, 1))
    return refuse(site, `scratch memory ${id} is too small, or is read from here on`);
  return found;
};
