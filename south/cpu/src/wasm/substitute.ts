/** Kernel expressions with some ranges replaced by numbers, as unrolling and lane-wise code need them. Index arithmetic is
 *  rebuilt by the constructors that simplify, so that instances which load the same element share one node. */

import {
  addIndex,
  bounds,
  build,
  constIndex,
  divIndex,
  modIndex,
  mulIndex,
  type Node,
  topological,
  within,
} from "sinan/south";

/** Numbers for ranges, by id. */
export type Binding = ReadonlyMap<number, number>;

export interface Substitution {
  /** The ids of the ranges that a node's value depends on; those of an accumulate end there. */
  dependences(node: Node): ReadonlySet<number>;
  apply(node: Node, binding: Binding): Node;
}

const none: ReadonlySet<number> = new Set();

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
    return within(root.scope, () => {
      for (const n of topological([root], (m) => !memo.has(m) && touched(m))) {
        if (!memo.has(n))
          memo.set(
            n,
            touched(n)
              ? rebuild(
                  n,
                  n.src.map((s) => memo.get(s) ?? s),
                  binding,
                )
              : n,
          );
      }
      return memo.get(root) ?? root;
    });
  }

  return { dependences, apply };
}

function rebuild(n: Node, src: readonly Node[], binding: Binding): Node {
  if (n.op === "range") return constIndex(binding.get(n.attr.id) ?? 0);
  const [a, b] = src;
  if (a && b && (isIndex(n) || n.op === "lt" || n.op === "and")) {
    const simple = simplified(n, a, b);
    if (simple) return simple;
  }
  return build.build(n.op, src, n.attr) as Node;
}

function simplified(n: Node, a: Node, b: Node): Node | undefined {
  const k = b.op === "const" ? b.attr.value : undefined;
  switch (n.op) {
    case "add":
      return addIndex(a, b);
    case "mul":
      return k === undefined ? undefined : mulIndex(a, k);
    case "idiv":
      return k === undefined || k <= 0 ? undefined : divIndex(a, k);
    case "mod":
      return k === undefined || k <= 0 ? undefined : modIndex(a, k);
    case "lt": {
      if (!isIndex(a) || !isIndex(b)) return undefined;
      const [[aLow, aHigh], [bLow, bHigh]] = [bounds(a), bounds(b)];
      return aHigh < bLow ? build.scalar(1, "bool") : aLow >= bHigh ? build.scalar(0, "bool") : undefined;
    }
    case "and":
      if (a.op === "const" && a.attr.dtype === "bool") return a.attr.value !== 0 ? b : a;
      return b.op === "const" && b.attr.dtype === "bool" ? (b.attr.value !== 0 ? a : b) : undefined;
    default:
      return undefined;
  }
}

const indices = new WeakMap<Node, boolean>();
const limit = 2 ** 31;

/** Whether a node is arithmetic on ranges alone that cannot overflow, so that the index constructors' rules hold for it. */
export function isIndex(root: Node): boolean {
  for (const n of topological([root], (m) => !indices.has(m))) if (!indices.has(n)) indices.set(n, ownIsIndex(n));
  return indices.get(root) ?? false;
}

function ownIsIndex(n: Node): boolean {
  if (n.op === "range") return true;
  if (n.op === "const") return n.attr.dtype === "i32";
  if (n.op !== "add" && n.op !== "mul" && n.op !== "idiv" && n.op !== "mod") return false;
  if (!n.src.every((s) => indices.get(s))) return false;
  const [low, high] = bounds(n);
  return low >= -limit && high < limit;
}
