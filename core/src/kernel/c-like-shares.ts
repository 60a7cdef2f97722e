/** The loops that threads share, as text: one loop, of which a call runs some iterations. */
import type { CLike } from "./c-like.ts";
import { indexName } from "./c-like-text.ts";
import type { RangeNode } from "./nests.ts";

/** The iterations of shared loops that are to be run, as expressions. */
export interface Share {
  readonly begin: string;
  readonly end: string;
}

/** Parallel loops are one, of which a share is run; each finds its index in that of the one. */
export function sharedLoop(
  { loop }: CLike,
  { begin, end }: Share,
  shared: readonly RangeNode[],
  range: RangeNode,
): string {
  if (shared.length < 2) return loop(indexName(range), end, begin);
  const at = shared.indexOf(range);
  const inside = shared.slice(at + 1).reduce((n, r) => n * r.attr.extent, 1);
  const quotient = inside === 1 ? "tile" : `tile / ${inside}`;
  const index = at === 0 ? quotient : `${quotient} % ${range.attr.extent}`;
  const own = loop(indexName(range), `${index} + 1`, index);
  return at === 0 ? `${loop("tile", end, begin)} ${own}` : own;
}
