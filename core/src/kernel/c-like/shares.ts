/** The loops that threads share, as text: one loop, of which a call runs some iterations. */
import type { CLike } from "./c-like.ts";
import { indexName } from "./text.ts";
import type { RangeNode } from "../nests.ts";

/** The iterations of shared loops that are to be run, as expressions. */
export interface Share {
  readonly begin: string;
  readonly end: string;
}

/** Parallel loops are one, of which a share is run; each finds its index in that of the one. */
export function sharedLoop(
  { loop, select }: CLike,
  { begin, end }: Share,
  shared: readonly RangeNode[],
  range: RangeNode,
): string {
  const [outer, inner, ...more] = shared;
  if (!outer || !inner) return loop(indexName(range), end, begin);
  const at = shared.indexOf(range);
  if (more.length === 0) {
    const { extent } = inner.attr;
    if (at === 0) return loop(indexName(range), `(${end} + ${extent - 1}) / ${extent}`, `${begin} / ${extent}`);
    const before = `${indexName(outer)} * ${extent}`;
    const [from, to] = [`${begin} - ${before}`, `${end} - ${before}`];
    return loop(indexName(range), select(`${to} < ${extent}`, to, `${extent}`), select(`${from} > 0`, from, "0"));
  }
  const inside = shared.slice(at + 1).reduce((n, r) => n * r.attr.extent, 1);
  const quotient = inside === 1 ? "tile" : `tile / ${inside}`;
  const index = at === 0 ? quotient : `${quotient} % ${range.attr.extent}`;
  const own = loop(indexName(range), `${index} + 1`, index);
  return at === 0 ? `${loop("tile", end, begin)} ${own}` : own;
}
