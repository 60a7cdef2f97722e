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
import { fnsIn } from "../ir/attr.ts";
import type { Node, NodeOf, Op } from "../ir/node.ts";
import { remake } from "../ir/scope.ts";
import { define, newScope } from "../ops/table.ts";

export function absorb(fn: Fn): Fn {
  // Nodes of one scope are interned, so equal arguments are one node. A call waits for its larger brother, which has the same
  // sources, hence never depends on it.
  const brothers = new Map<string, Node[]>();
  for (const node of nodesOf(fn)) {
    if (define<Op>(node.op).role !== "control") continue;
    const place = `${node.op} ${node.src.map((s) => s.id).join(" ")}`;
    const group = brothers.get(place);
    if (group) group.push(node);
    else brothers.set(place, [node]);
  }
  const instead = new Map<Node, Node>();
  for (const group of brothers.values())
    for (const call of group) {
      const better = group.find((other) => extendsCall(other, call));
      if (better) instead.set(call, better);
    }
  return instead.size === 0 ? fn : redirect(fn, instead);
}

/** Whether what a node runs computes what the other runs and more, in a loop of the same steps if it is one. */
function extendsCall(other: Node, call: Node): boolean {
  const fns = fnsIn(call.attr);
  if (other === call || !fnsIn(other.attr).every((f, i) => extended.get(f) === fns[i])) return false;
  const [a, b] = [other, call];
  return a.op !== "scan" || b.op !== "scan" || (a.attr.length === b.attr.length && a.attr.reverse === b.attr.reverse);
}

/** The function rebuilt with calls exchanged; sources are dealt with on the way, iteratively. */
function redirect(fn: Fn, instead: ReadonlyMap<Node, Node>): Fn {
  const scope = newScope();
  const known = new Map<Node, Node>();
  const stack: Node[] = [...fn.results, ...fn.params].reverse();
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
    fn.params.map((p) => known.get(p as Node) as NodeOf<"param">),
    fn.results.map((r) => known.get(r) as Node),
  );
}
