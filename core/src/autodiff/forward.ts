/** Forward mode: tangents along the order of computation. An op has no rule for it: its derivative rule is linear in the
 *  cotangent, so the rule of the rule pushes a tangent forward (Townsend 2017, "A new trick for calculating Jacobian vector
 *  products"), op by op.
 *
 *    x̄ = pull(ȳ)                    linear in ȳ
 *    ẏ = pull of (ȳ ↦ x̄) at ẋ       no ȳ is left in it
 *
 *  What runs functions (a call, a scan) has its results and their tangents computed together, by one call or loop of both: its own
 *  results are then those of the joint one, and so nothing is computed twice. */
import { copy } from "../ir/copy.ts";
import { isFloat } from "../ir/dtype.ts";
import { topological } from "../ir/fn.ts";
import type { Node, Op } from "../ir/node.ts";
import { currentScope, remake, within } from "../ir/scope.ts";
import { isTuple, type Type } from "../ir/type.ts";
import { item } from "../ops/build.ts";
import type { OpDef } from "../ops/define.ts";
import { define, newScope } from "../ops/table.ts";
import { backward, pullBack } from "./backward.ts";
import { callForward, type Pushed } from "./joint.ts";
import { zeroOf } from "./region.ts";

/** The tangents of `roots` for tangents of `wrt`. */
export function forward(roots: readonly Node[], wrt: readonly Node[], tangents: readonly Node[]): Pushed {
  const moves = new Map<Node, Node | null>(wrt.map((n, i) => [n, tangents[i] as Node]));
  const parts = new Map<Node, readonly (Node | null)[]>();
  /** What a node has become, and the results of what was made anew with its tangents. */
  const instead = new Map<Node, Node>();
  const results = new Map<Node, readonly Node[]>();
  const now = (n: Node): Node => instead.get(n) ?? n;
  for (const node of topological(roots, (n) => !moves.has(n))) {
    if (moves.has(node)) continue;
    const src = node.src.map(now);
    const made = node.op === "item" ? results.get(node.src[0] as Node)?.[node.attr.index] : undefined;
    const own = made ?? (src.every((s, i) => s === node.src[i]) ? node : remake(currentScope(), node, src));
    if (own !== node) instead.set(node, own);
    if (node.op === "item") {
      moves.set(node, parts.get(node.src[0] as Node)?.[node.attr.index] ?? null);
      continue;
    }
    const given = node.src.map((s) => moves.get(s) ?? null);
    if (!given.some(Boolean)) continue;
    if (!isTuple(own.type)) {
      if (isFloat(own.type.dtype)) moves.set(node, push(own, given)[0] ?? null);
      continue;
    }
    const both = pushTuple(own, given);
    if (both.results) results.set(node, both.results);
    parts.set(node, both.tangents);
  }
  return { roots: roots.map(now), tangents: roots.map((r) => moves.get(r) ?? null) };
}

function pushTuple(
  node: Node,
  given: readonly (Node | null)[],
): { readonly results?: readonly Node[]; readonly tangents: readonly (Node | null)[] } {
  if (node.op === "tuple") return { tangents: given };
  const both =
    node.op === "call" ? callForward(node, given, forward) : (define(node.op) as OpDef<Op>).push?.(node, given);
  return both ?? { tangents: push(node, given) };
}

/** The tangents of a node's results, by the rule of its rule. That is worked out in a scope of its own, so that only what is
 *  left of it becomes part of the graph. */
function push(node: Node, given: readonly (Node | null)[]): readonly (Node | null)[] {
  const scope = newScope();
  const known = new Map<Node, Node>();
  let index = 0;
  const stand = (type: Type, stands?: Node | null): Node => {
    const p = scope.make("param", [], { index: index++, name: "", type }) as Node;
    if (stands) known.set(p, stands);
    return p;
  };
  const ownItems = new Map<Node, number>();
  const pushed = within(scope, () => {
    const src = node.src.map((s) => stand(s.type, s));
    const y = remake(scope, node, src);
    known.set(y, node);
    const types = isTuple(node.type) ? node.type.tuple : [node.type];
    const seeds = types.map((t) => (!isTuple(t) && isFloat(t.dtype) ? stand(t) : null));
    const tangents = given.map((t, i) => (t ? stand((src[i] as Node).type, t) : null));
    if (isTuple(node.type)) types.forEach((_, j) => ownItems.set(item(y, j), j));
    const flows = pullBack(y, seeds, tangents.map(Boolean));
    const both = flows.flatMap((x, i) => (x && tangents[i] ? [[x, tangents[i]] as const] : []));
    const open = seeds.filter((s): s is Node => s !== null);
    const made = backward(
      both.map(([x]) => x),
      both.map(([, t]) => t),
      open,
    );
    return seeds.map((s) => (s ? (made[open.indexOf(s)] ?? null) : null));
  });
  for (const [own, j] of ownItems) known.set(own, item(node, j));
  // A rule that is called takes the cotangent as an argument still, though nothing hangs on it.
  for (const n of topological(pushed.filter((p) => p !== null)))
    if (n.op === "param" && !known.has(n)) known.set(n, zeroOf(n));
  return pushed.map((p) => (p ? (copy([p], known)[0] as Node) : null));
}
