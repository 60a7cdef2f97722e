/** A function cut in two: what it computes, with the values worth keeping; and what a derivative makes of those later.
 *
 *    %y = f(%x), and its derivative    →    %y, %r = f.forward(%x)
 *                                           %d     = f.backward(%x, %r, %g)
 *
 *  Saved are results of contractions, reductions and indexed accesses; element-wise values between them are computed again, where they
 *  fuse into their users. A function of `rematerialised` says itself what is saved. */
import { copy } from "../ir/copy.ts";
import { type Fn, makeFn, topological } from "../ir/fn.ts";
import type { Node, NodeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { isTuple, type Type } from "../ir/type.ts";
import { define, newScope } from "../ops/table.ts";
import { extended, rematerialised, type Saves } from "./marks.ts";

export interface Halves {
  /** The body's results, then the residuals. */
  readonly forward: Fn;
  /** Parameters, residuals, what was given → the derivatives that there are. */
  readonly backward: Fn;
  /** For each derivative of `derive`, its place among the results of `backward`, or −1. */
  readonly flows: readonly number[];
  readonly residuals: readonly Type[];
}

/** @param given   types of what the derivative is made from beside the body's values: cotangents
 *  @param derive  makes the derivatives, in the scope of the body that it is given
 *  @param keep    parameters that the second half does not get but as residuals */
export function split(
  fn: Fn,
  given: readonly Type[],
  derive: (params: readonly Node[], results: readonly Node[], given: readonly Node[]) => readonly (Node | null)[],
  keep: (param: number) => boolean = () => false,
): Halves {
  const scope = newScope();
  return within(scope, () => {
    const param = (index: number, type: Type): NodeOf<"param"> => scope.make("param", [], { index, name: "", type });
    const params = fn.params.map((p, i) => param(i, p.type));
    const known = new Map<Node, Node>(fn.params.map((p, i) => [p as Node, params[i] as Node]));
    const results = copy(fn.results, known);
    const body = new Set(known.values());
    // Their numbers are provisional: how many residuals come before them is not known yet.
    const extra = given.map((type, i) => param(params.length + i, type) as Node);
    const derived = derive(params, results, extra);
    const wanted = derived.filter((d): d is Node => d !== null);

    const kept = new Set<Node>(params.filter((_, i) => keep(i)) as readonly Node[]);
    const saves = rematerialised.get(fn) ?? isWorthSaving;
    const after = dependents(wanted, extra);
    // What the derivative of an inner call finds saved is a part of that call's forward half, which the body has not seen.
    const isBefore = (n: Node) => body.has(n) || (n.op === "item" && !after.has(n));
    const residuals = residualsOf(wanted, (n) => isBefore(n) && (kept.has(n) || (n.op !== "param" && saves(n))));
    const forward = makeFn(`${fn.name}.forward`, params, [...results, ...residuals]);
    extended.set(forward, fn);

    const own = newScope();
    const backward = within(own, () => {
      let index = 0;
      const bound = new Map<Node, Node>();
      const bind = (n: Node) => {
        const p = own.make("param", [], { index: index++, name: "", type: n.type });
        bound.set(n, p);
        return p;
      };
      const all = [...(params as readonly Node[]), ...residuals, ...extra].map(bind);
      return makeFn(`${fn.name}.backward`, all, copy(wanted, bound));
    });
    let place = 0;
    return {
      forward,
      backward,
      flows: derived.map((d) => (d ? place++ : -1)),
      residuals: residuals.map((r) => r.type),
    };
  });
}

/** The values that depend on what the derivatives are given. */
function dependents(derived: readonly Node[], given: readonly Node[]): Set<Node> {
  const found = new Set(given);
  for (const n of topological(derived)) if (n.src.some((s) => found.has(s))) found.add(n);
  return found;
}

/** The values that the derivatives read, cut at what is saved. */
export function residualsOf(derived: readonly Node[], saved: Saves): Node[] {
  const found = new Set<Node>();
  const seen = new Set<Node>();
  const stack = [...derived];
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    if (saved(node)) found.add(node);
    else stack.push(...node.src);
  }
  return [...found].sort((a, b) => a.id - b.id);
}

const expensive: ReadonlySet<string> = new Set(["reduce", "contraction", "indexed"]);

export const isWorthSaving: Saves = (node) =>
  !isTuple(node.type) && (expensive.has(define(node.op).role) || node.op === "item");
