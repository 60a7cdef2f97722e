/** One call where two stood: beside `call f.forward(x)`, whose first results are f's (see `autodiff/region.ts`), `call f(x)` is
 *  not computed again.
 *
 *    %a = call f(%x)              %b = call f.forward(%x)
 *    %y = item(%a) {0}      →     %y = item(%b) {0}
 *    %b = call f.forward(%x)
 *
 *  Must come before the called functions are rewritten: it goes by which function a forward half was made from. */
import { extended } from "../autodiff/marks.ts";
import { makeFn, nodesOf } from "../ir/fn.ts";
import type { Fn } from "../ir/fn.ts";
import type { Node, NodeOf } from "../ir/node.ts";
import { remake, within } from "../ir/scope.ts";
import { newScope } from "../ops/table.ts";

export function absorb(fn: Fn): Fn {
  const calls = nodesOf(fn).filter((n) => n.op === "call");
  if (calls.length === 0) return fn;
  const scope = newScope();
  return within(scope, () => {
    const known = new Map<Node, Node>();
    // Sources first, so that equal arguments are already one node when the calls are compared. A call waits for its larger
    // brother, which has the same sources, hence never depends on it.
    const brothers = new Map<string, Node[]>();
    const place = (src: readonly Node[]) => src.map((s) => s.id).join(" ");
    for (const node of nodesOf(fn)) {
      const src = node.src.map((s) => known.get(s) as Node);
      const copy = remake(scope, node, src);
      known.set(node, copy);
      if (copy.op === "call") brothers.set(place(src), [...(brothers.get(place(src)) ?? []), copy]);
    }
    const instead = new Map<Node, Node>();
    for (const group of brothers.values()) {
      const larger = group.filter((n) => n.op === "call" && extended.has(n.attr.fn));
      for (const call of group) {
        const better = larger.find(
          (n) => n !== call && n.op === "call" && call.op === "call" && extended.get(n.attr.fn) === call.attr.fn,
        );
        if (better) instead.set(call, better);
      }
    }
    return redirect(fn, known, instead);
  });
}

/** The function rebuilt with calls exchanged; sources are dealt with on the way, iteratively. */
function redirect(fn: Fn, copies: ReadonlyMap<Node, Node>, instead: ReadonlyMap<Node, Node>): Fn {
  const scope = newScope();
  const params = fn.params.map((p) => copies.get(p as Node) as Node);
  const known = new Map<Node, Node>();
  const stack: Node[] = [...fn.results.map((r) => copies.get(r) as Node), ...params].reverse();
  for (let node = stack.at(-1); node; node = stack.at(-1)) {
    if (known.has(node)) {
      stack.pop();
      continue;
    }
    const target = instead.get(node);
    const needs = target ? [target] : node.src;
    const missing = needs.filter((s) => !known.has(s));
    if (missing.length > 0) {
      stack.push(...missing);
      continue;
    }
    stack.pop();
    const src = needs.map((s) => known.get(s) as Node);
    known.set(node, target ? (src[0] as Node) : remake(scope, node, src));
  }
  return makeFn(
    fn.name,
    params.map((p) => known.get(p) as NodeOf<"param">),
    fn.results.map((r) => known.get(copies.get(r) as Node) as Node),
  );
}
