/** Changing graphs: rules applied from the sources up until none fits, and values put in place of others. Nothing recurses,
 *  so a chain of any length is fine. A function's body is built over arguments by `instantiate` of `copy.ts`. */
import { VerifyError } from "../errors.ts";
import { copy } from "./copy.ts";
import { type Fn, makeFn } from "./fn.ts";
import type { Node, NodeOf, Op } from "./node.ts";
import { InternScope, type Scope, within } from "./scope.ts";
import { typeText } from "./type.ts";

/** For an op, what a node of it should be instead; undefined leaves it. A rule makes its nodes with the builders of
 *  `ops/build.ts`; the node that it is given already has rewritten sources. */
export type Rules = { readonly [O in Op]?: (node: NodeOf<O>) => Node | undefined };

/** Applies the rules to every node, sources first and to what they make too, until none fits. Parameters stay.
 *
 *  @param scope  where the result is built; by default a fresh one, in which nodes keep the user's lines
 *  @throws VerifyError if the rules never come to rest */
export function rewrite(fn: Fn, rules: Rules, scope?: Scope): Fn {
  const anchor: Node | undefined = fn.results[0] ?? fn.params[0];
  if (!anchor) return fn;
  let site: string | undefined;
  const target = scope ?? new InternScope(anchor.scope.infer, () => site);
  const settled = new Map<Node, Node>();
  within(target, () => {
    for (const root of [...(fn.params as readonly Node[]), ...fn.results])
      settle(root, rules, target, settled, (s) => (site = s));
  });
  const params = fn.params.map((p) => settled.get(p as Node) as NodeOf<"param">);
  return makeFn(
    fn.name,
    params,
    fn.results.map((r) => settled.get(r) as Node),
  );
}

/** Rewrites all that a root needs. `settled` holds nodes of both scopes: what each has become. */
function settle(
  root: Node,
  rules: Rules,
  scope: Scope,
  settled: Map<Node, Node>,
  at: (site: string | undefined) => void,
): void {
  // A node that a rule has replaced stands here until its replacement has settled.
  const replaced = new Map<Node, Node>();
  const stack: Node[] = [root];
  for (let n = stack.at(-1); n; n = stack.at(-1)) {
    const instead = replaced.get(n);
    const sources = instead ? [instead] : n.src;
    const open = settled.has(n) ? [] : sources.filter((s) => !settled.has(s));
    if (open.length > 0) {
      const circle = open.find((s) => replaced.has(s));
      if (circle)
        throw new VerifyError(`rewrite: the rules for ${circle.op} and ${n.op} undo each other`, {
          hint: `at ${typeText(n.type)}`,
        });
      for (let i = open.length - 1; i >= 0; i--) stack.push(open[i] as Node);
      continue;
    }
    stack.pop();
    if (settled.has(n)) continue;
    if (instead) {
      settled.set(n, settled.get(instead) as Node);
      replaced.delete(n);
      continue;
    }
    at(n.site);
    const own = remake(n, scope, settled);
    const better = settled.get(own) ?? applyRule(own, rules);
    if (better === undefined || better === own) {
      settled.set(own, own);
      settled.set(n, own);
    } else {
      replaced.set(own, better);
      replaced.set(n, better);
      stack.push(n);
      if (own !== n) stack.push(own);
    }
    if (replaced.size > 4096) throw new VerifyError(`rewrite: the rules for ${n.op} never come to rest`);
  }
}

/** The node with its sources as they now are, in the scope. */
function remake(n: Node, scope: Scope, now: ReadonlyMap<Node, Node>): Node {
  if (n.scope === scope && n.src.every((s) => now.get(s) === s)) return n;
  return scope.make(
    n.op,
    n.src.map((s) => now.get(s) ?? s),
    n.attr,
  ) as Node;
}

function applyRule(n: Node, rules: Rules): Node | undefined {
  const rule = rules[n.op] as ((node: Node) => Node | undefined) | undefined;
  return n.op === "param" ? undefined : rule?.(n);
}

/** The roots in another scope, with the values of `leaves` in place of their keys.
 *  @throws VerifyError if a value of `leaves` is of another scope than `scope` */
export const copyInto = (scope: Scope, roots: readonly Node[], leaves: ReadonlyMap<Node, Node> = new Map()): Node[] =>
  within(scope, () => copy(roots, new Map(leaves)));

/** The roots with the values of `map` in place of its keys, in the roots' own scope. */
export function substitute(roots: readonly Node[], map: ReadonlyMap<Node, Node>): Node[] {
  const scope = roots[0]?.scope;
  return scope ? copyInto(scope, roots, map) : [];
}
