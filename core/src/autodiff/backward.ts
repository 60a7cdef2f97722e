/** Reverse mode over a graph: one walk against the order of computation, each op's rule from the table, cotangents added where
 *  a value was used more than once. Rules build ordinary nodes, so derivatives of derivatives need nothing more. */
import { topological } from "../ir/fn.ts";
import type { Node, Op } from "../ir/node.ts";
import { freshId, onBehalf } from "../ir/scope.ts";
import { isTuple } from "../ir/type.ts";
import { add, zerosLike } from "../ops/build.ts";
import type { OpDef } from "../ops/define.ts";
import { define } from "../ops/table.ts";
import { callBackward } from "./region.ts";

/** The cotangents of `wrt`, given those of `roots`; null where nothing flows. Nodes are made in the current scope. */
export function backward(
  roots: readonly Node[],
  cotangents: readonly (Node | null)[],
  wrt: readonly Node[],
): (Node | null)[] {
  const targets = new Set(wrt);
  const order = topological(roots, (n) => !targets.has(n));
  const reached = new Set<Node>();
  for (const n of order) if (targets.has(n) || n.src.some((s) => reached.has(s))) reached.add(n);

  const sums = new Map<Node, Node>();
  const parts = new Map<Node, (Node | null)[]>();
  const give = (to: Node, g: Node | null): void => {
    if (!g || !reached.has(to)) return;
    const sum = sums.get(to);
    sums.set(to, sum ? add(sum, g) : g);
  };
  roots.forEach((root, i) => give(root, cotangents[i] ?? null));

  for (let i = order.length - 1; i >= 0; i--) {
    const node = order[i] as Node;
    if (!reached.has(node) || targets.has(node)) continue;
    if (node.op === "item") {
      const g = sums.get(node);
      if (!g) continue;
      const tuple = node.src[0] as Node;
      const list = parts.get(tuple) ?? [];
      const { index } = node.attr;
      // Without interning, a part may have been taken several times.
      const known = list[index];
      list[index] = known ? add(known, g) : g;
      parts.set(tuple, list);
      continue;
    }
    const g = isTuple(node.type) ? parts.get(node) : sums.has(node) ? [sums.get(node) as Node] : undefined;
    if (!g) continue;
    const before = freshId();
    const flows = onBehalf(node.site, () => {
      const made = pullBack(
        node,
        g,
        node.src.map((s) => reached.has(s)),
      );
      node.src.forEach((s, j) => give(s, made[j] ?? null));
      return made;
    });
    // A rule makes the cotangents of all sources; those that nobody asked for are no uses of what they were made from.
    if (node.scope.forget) {
      const used = new Set(flows.filter((_, j) => reached.has(node.src[j] as Node)));
      for (const flow of flows)
        if (flow && !used.has(flow)) node.scope.forget(flow, (n) => n.id > before && !used.has(n));
    }
  }
  return wrt.map((n) => sums.get(n) ?? null);
}

/** The cotangents of one node's sources, where `needed`, given those of its results. */
export function pullBack(
  node: Node,
  cotangents: readonly (Node | null)[],
  needed: readonly boolean[],
): readonly (Node | null)[] {
  if (node.op === "call") return callBackward(node, cotangents, needed, backward);
  if (node.op === "tuple") return cotangents;
  const entry = define(node.op) as OpDef<Op>;
  if (isTuple(node.type)) return entry.pull?.(node, cotangents, needed) ?? [];
  const [g] = cotangents;
  return g ? (entry.vjp?.(g, node) ?? []) : [];
}

/** Like `backward`, with zeros where nothing flows. */
export const backwardOrZero = (
  roots: readonly Node[],
  cotangents: readonly (Node | null)[],
  wrt: readonly Node[],
): Node[] => backward(roots, cotangents, wrt).map((g, i) => g ?? zerosLike(wrt[i] as Node));
