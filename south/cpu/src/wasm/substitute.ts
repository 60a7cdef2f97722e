/** Kernel expressions with some ranges replaced by numbers, as unrolling and lane-wise code need them. Index arithmetic is
 *  rebuilt by the constructors that simplify, so that instances which load the same element share one node. */

import { constIndex, type Node, type NodeOf, rebuild, topological, within } from "sinan/south";

/** Numbers for ranges, by id. */
export type Binding = ReadonlyMap<number, number>;

export interface Substitution {
  /** The ids of the ranges that a node's value depends on; those of an accumulate end there. */
  dependences(node: Node): ReadonlySet<number>;
  apply(node: Node, binding: Binding): Node;
}

const none: ReadonlySet<number> = new Set();
const nowhere: ReadonlySet<Node> = new Set();

export function substitution(): Substitution {
  const known = new Map<Node, ReadonlySet<number>>();

  function dependences(root: Node): ReadonlySet<number> {
    const found = known.get(root);
    if (found) return found;
    for (const n of topological([root], (m) => !known.has(m))) if (!known.has(n)) known.set(n, ownDependences(n));
    return known.get(root) ?? none;
  }

  function ownDependences(n: Node): ReadonlySet<number> {
    if (n.op === "range") return new Set([n.attr.id]);
    let all = none;
    for (const s of n.src) {
      const more = known.get(s) ?? none;
      if (all === none) all = more;
      else if ([...more].some((id) => !all.has(id))) all = new Set([...all, ...more]);
    }
    if (n.op !== "accumulate") return all;
    const outer = new Set(all);
    for (const r of n.src.slice(1)) if (r.op === "range") outer.delete(r.attr.id);
    return outer;
  }

  const memos = new WeakMap<Binding, Map<Node, Node>>();

  function apply(root: Node, binding: Binding): Node {
    const touched = (n: Node): boolean => {
      for (const id of dependences(n)) if (binding.has(id)) return true;
      return false;
    };
    if (binding.size === 0 || !touched(root)) return root;
    const memo = memos.get(binding) ?? new Map<Node, Node>();
    memos.set(binding, memo);
    const now = (n: Node): Node => memo.get(n) ?? n;
    const numbers = { range: (r: NodeOf<"range">) => constIndex(binding.get(r.attr.id) ?? 0) };
    return within(root.scope, () => {
      for (const n of topological([root], (m) => !memo.has(m) && touched(m))) {
        if (!memo.has(n)) memo.set(n, touched(n) ? rebuild(n, now, nowhere, numbers) : n);
      }
      return memo.get(root) ?? root;
    });
  }

  return { dependences, apply };
}
