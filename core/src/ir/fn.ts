/** A function of the IR: parameters, results, and everything between them reached through sources. */
import { hashText, mixHash } from "./attr.ts";
import type { Node, NodeOf } from "./node.ts";
import { freshId } from "./scope.ts";
import { typeEqual } from "./type.ts";

/** A function: its parameters and its results. */
export interface Fn {
  readonly id: number;
  readonly name: string;
  readonly params: readonly NodeOf<"param">[];
  readonly results: readonly Node[];
  /** Structural, like a node's. */
  readonly hash: number;
}

const interned = new WeakMap<Node, Fn[]>();

/** The function with this name, these parameters and these results. The same three give the same function. */
export function makeFn(name: string, params: readonly NodeOf<"param">[], results: readonly Node[]): Fn {
  const anchor = results[0] ?? params[0];
  const known =
    anchor &&
    interned.get(anchor)?.find((f) => f.name === name && sameItems(f.params, params) && sameItems(f.results, results));
  if (known) return known;
  let hash = hashText("fn");
  for (const n of params) hash = mixHash(hash, n.hash);
  for (const n of results) hash = mixHash(hash, n.hash);
  const fn = Object.freeze({
    id: freshId(),
    name,
    params: Object.freeze([...params]),
    results: Object.freeze([...results]),
    hash,
  });
  if (anchor) interned.set(anchor, [...(interned.get(anchor) ?? []), fn]);
  return fn;
}

/** Whether two lists hold the same, in the same order. */
export const sameItems = <T>(a: readonly T[], b: readonly T[]): boolean =>
  a.length === b.length && a.every((x, i) => x === b[i]);

/** All nodes that the roots need, sources before users, each once. Iterative: a chain of any length is fine.
 *  `enter` may stop the walk at a node, which is then listed but not entered. */
export function topological(roots: readonly Node[], enter: (node: Node) => boolean = () => true): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  // Nodes to go to; one behind which nothing stands is left, as all that it needs was listed.
  const stack: (Node | undefined)[] = [...roots].reverse();
  while (stack.length > 0) {
    const node = stack.pop();
    if (!node) order.push(stack.pop() as Node);
    else if (!seen.has(node)) {
      seen.add(node);
      stack.push(node, undefined);
      if (enter(node))
        for (let i = node.src.length - 1; i >= 0; i--) if (!seen.has(node.src[i] as Node)) stack.push(node.src[i]);
    }
  }
  return order;
}

/** The nodes of an order that read each other, as often as they do. */
export function usersOf(order: readonly Node[]): Map<Node, Node[]> {
  const users = new Map<Node, Node[]>();
  for (const n of order)
    for (const s of n.src) {
      const own = users.get(s) ?? [];
      users.set(s, own);
      own.push(n);
    }
  return users;
}

export const nodesOf = (fn: Fn): Node[] => topological([...fn.params, ...fn.results]);

/** Whether two functions have the same structure, names of parameters and functions aside. The check behind every cache
 *  that is keyed by a hash. */
export function fnEqual(a: Fn, b: Fn): boolean {
  if (a === b) return true;
  if (a.hash !== b.hash || a.params.length !== b.params.length || a.results.length !== b.results.length) return false;
  const pair = new Map<Node, Node>();
  const left = nodesOf(a);
  const right = nodesOf(b);
  if (left.length !== right.length) return false;
  return (
    left.every((n, i) => {
      const m = right[i] as Node;
      pair.set(n, m);
      return (
        n.op === m.op &&
        n.src.length === m.src.length &&
        typeEqual(n.type, m.type) &&
        n.src.every((s, j) => pair.get(s) === m.src[j]) &&
        attrEqual(n.attr, m.attr)
      );
    }) && a.results.every((n, i) => pair.get(n) === b.results[i])
  );
}

/** Whether two attributes are the same; a parameter's name does not count. */
export function attrEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if ("results" in a && "results" in b) return fnEqual(a as Fn, b as Fn);
  if ("text" in a && "text" in b) return a.text === b.text;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((k) => k === "name" || attrEqual((a as Record<string, unknown>)[k], (b as Record<string, unknown>)[k]))
  );
}
