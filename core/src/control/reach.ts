/** What of a function depends on which of its parameters. */
import { type Fn, topological } from "../ir/fn.ts";
import type { Node } from "../ir/node.ts";

/** Which results depend on the parameters that are marked. */
export function dependent(fn: Fn, marked: readonly boolean[]): boolean[] {
  const reached = new Set<Node>();
  for (const n of topological(fn.results))
    if (n.op === "param" ? marked[n.attr.index] : n.src.some((s) => reached.has(s))) reached.add(n);
  return fn.results.map((r) => reached.has(r));
}

/** What of a loop's carry is marked in the end, where the body marks what depends on what is marked: the least such choice that
 *  holds `start`. */
export function settledCarry(
  body: Fn,
  consts: readonly boolean[],
  start: readonly boolean[],
  rest: readonly boolean[],
): boolean[] {
  let carry = [...start];
  for (;;) {
    const next = dependent(body, [...consts, ...carry, ...rest]);
    const grown = carry.map((c, k) => c || next[k] === true);
    if (grown.every((c, k) => c === carry[k])) return carry;
    carry = grown;
  }
}
