/** The derivative of a call: the body is differentiated once for all calls of it.
 *
 *    %y = call f(%x)      →     %y, %r = call f.forward(%x)        %r: what the backward pass needs and should not recompute
 *                               %gx    = call f.backward(%x, %r, %gy)
 *
 *  The original call and `f.forward` then compute the same thing twice: `compiler/absorb.ts` lets the second serve for both. A function
 *  with a rule of its own (`marks.ts`) calls that; one of whose gradients some may wait has a backward of two (`stages.ts`). */
import { isFloat } from "../ir/dtype.ts";
import type { Fn } from "../ir/fn.ts";
import { dimsOf, dtypeOf, type Node, type NodeOf } from "../ir/node.ts";
import { isTuple } from "../ir/type.ts";
import { call, fill, item, scalar } from "../ops/build.ts";
import { customRules, waiting } from "./marks.ts";
import { bits, type Memo, once } from "./memo.ts";
import { type Halves, split } from "./split.ts";

/** Reverse mode itself, which a function's body is given to. */
export type Backward = (
  roots: readonly Node[],
  cotangents: readonly (Node | null)[],
  wrt: readonly Node[],
) => (Node | null)[];

/** The parts of a tuple from a place on. */
const itemsFrom = (tuple: Node, from: number): Node[] =>
  isTuple(tuple.type) ? tuple.type.tuple.slice(from).map((_, k) => item(tuple, from + k)) : [];

export const zeroOf = (n: Node): Node => fill(scalar(0, dtypeOf(n)), dimsOf(n));

/** Cotangents of a call's sources, where `needed`. */
export function callBackward(
  node: NodeOf<"call">,
  cotangents: readonly (Node | null)[],
  needed: readonly boolean[],
  backward: Backward,
): (Node | null)[] {
  const { fn } = node.attr;
  const custom = customRules.get(fn);
  if (custom) {
    const { rule, forward } = custom;
    const kept = forward ? call(forward, node.src) : node;
    const given = call(rule, [
      ...node.src,
      ...itemsFrom(kept, forward ? fn.results.length : 0),
      ...fn.results.map((r, j) => cotangents[j] ?? zeroOf(r)),
    ]);
    return node.src.map((s, i) => (needed[i] && isFloat(dtypeOf(s)) ? item(given, i) : null));
  }
  const present = fn.results.map((_, j) => Boolean(cotangents[j]));
  const halves = halvesOf(fn, present, needed, backward);
  const forward: Node = call(halves.forward, node.src);
  const args = [
    ...node.src,
    ...itemsFrom(forward, fn.results.length),
    ...cotangents.filter((g): g is Node => Boolean(g)),
  ];
  const waits = waiting.get(fn);
  const later = waits ? halves.flows.flatMap((at, i) => (at < 0 ? [] : [waits.later[i] ?? false])) : [];
  if (waits && later.includes(true) && later.includes(false)) {
    const grads = waits.call(halves.backward, fn.name, later, args);
    return halves.flows.map((at) => (at < 0 ? null : (grads[at] as Node)));
  }
  const grads = call(halves.backward, args);
  return halves.flows.map((at) => (at < 0 ? null : item(grads, at)));
}

const made: Memo<Halves> = new WeakMap();

const halvesOf = (fn: Fn, present: readonly boolean[], needed: readonly boolean[], backward: Backward): Halves =>
  once(made, fn, `${bits(present)} ${bits(needed)}`, () =>
    split(
      fn,
      fn.results.filter((_, j) => present[j]).map((r) => r.type),
      (params, results, given) => {
        let next = 0;
        const cotangents = present.map((p) => (p ? (given[next++] as Node) : null));
        return pulled(results, cotangents, params, needed, backward);
      },
    ),
  );

/** The cotangents of the parameters that need them. */
export function pulled(
  results: readonly Node[],
  cotangents: readonly (Node | null)[],
  params: readonly Node[],
  needed: readonly boolean[],
  backward: Backward,
): (Node | null)[] {
  const flows = backward(
    results,
    cotangents,
    params.filter((_, i) => needed[i]),
  );
  let next = 0;
  return needed.map((n) => (n ? (flows[next++] ?? null) : null));
}
