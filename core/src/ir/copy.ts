/** Copying nodes between scopes. */
import type { Fn } from "./fn.ts";
import { topological } from "./fn.ts";
import type { Node } from "./node.ts";
import { currentScope, remake } from "./scope.ts";

/** The roots rebuilt in the current scope; `known` gives what stands for the nodes already dealt with, and grows. */
export function copy(roots: readonly Node[], known: Map<Node, Node>): Node[] {
  const scope = currentScope();
  for (const node of topological(roots, (n) => !known.has(n))) {
    if (known.has(node)) continue;
    const src = node.src.map((s) => known.get(s) as Node);
    known.set(node, remake(scope, node, src));
  }
  return roots.map((r) => known.get(r) as Node);
}

/** A function's body over these arguments, in the current scope: its results. */
export const instantiate = (fn: Fn, args: readonly Node[]): Node[] =>
  copy(fn.results, new Map(fn.params.map((p, i) => [p as Node, args[i] as Node])));
