/** A function that computes results and their tangents together.
 *
 *    %y, %z = f(%x)     →     %y, %ẏ, %z, %ż = f.joint(%x, %ẋ)
 *
 *  A result whose tangent is nothing gets zeros; one that is not float stands twice. */
import { copy } from "../ir/copy.ts";
import { type Fn, makeFn } from "../ir/fn.ts";
import { isFloat } from "../ir/dtype.ts";
import { dtypeOf, type Node, type NodeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { call, item, zerosLike } from "../ops/build.ts";
import { newScope } from "../ops/table.ts";
import { customPushes, customRules, extended, rematerialised } from "./marks.ts";
import { bits, type Memo, once } from "./memo.ts";
import { zeroOf } from "./region.ts";

export interface Pushed {
  /** The roots, with what runs functions replaced by what computes tangents too. */
  readonly roots: readonly Node[];
  /** Their tangents; null where nothing flows. */
  readonly tangents: readonly (Node | null)[];
}

/** Forward mode itself, which a function's body is given to. */
export type Forward = (roots: readonly Node[], wrt: readonly Node[], tangents: readonly Node[]) => Pushed;

const made: Memo<Fn> = new WeakMap();

/** @param moves  which parameters have a tangent; those follow the parameters, in their order */
export const joint = (fn: Fn, moves: readonly boolean[], forward: Forward): Fn =>
  once(made, fn, bits(moves), () => {
    const body = jointOf(fn, moves, forward);
    const saves = rematerialised.get(fn);
    if (saves) rematerialised.set(body, saves);
    const smaller = extended.get(fn);
    if (smaller) extended.set(body, joint(smaller, moves, forward));
    return body;
  });

function jointOf(fn: Fn, moves: readonly boolean[], forward: Forward): Fn {
  const scope = newScope();
  return within(scope, () => {
    const moving = fn.params.filter((_, i) => moves[i]);
    const params = [...fn.params, ...moving].map((p, index) =>
      scope.make("param", [], { index, name: p.attr.name, type: p.type }),
    );
    const own = params.slice(0, fn.params.length) as readonly Node[];
    const results = copy(fn.results, new Map(fn.params.map((p, i) => [p as Node, own[i] as Node])));
    const pushed = forward(
      results,
      own.filter((_, i) => moves[i]),
      params.slice(fn.params.length),
    );
    const pairs = pushed.roots.flatMap((y, j) => [y, isFloat(dtypeOf(y)) ? (pushed.tangents[j] ?? zerosLike(y)) : y]);
    return makeFn(`${fn.name}.joint`, params, pairs);
  });
}

/** A call's results and their tangents, of one call that computes both; undefined where a derivative rule must be turned round. */
export function callForward(
  node: NodeOf<"call">,
  tangents: readonly (Node | null)[],
  forward: Forward,
): { readonly results: readonly Node[]; readonly tangents: readonly (Node | null)[] } | undefined {
  const { fn } = node.attr;
  const push = customPushes.get(fn);
  if (push) {
    const results = fn.results.map((_, j) => item(node as Node, j));
    const moved = call(push, [...node.src, ...results, ...node.src.map((s, i) => tangents[i] ?? zeroOf(s))]);
    return { results, tangents: results.map((r, j) => (isFloat(dtypeOf(r)) ? item(moved, j) : null)) };
  }
  if (customRules.has(fn)) return undefined;
  const both = call(joint(fn, tangents.map(Boolean), forward), [
    ...node.src,
    ...tangents.filter((t): t is Node => t !== null),
  ]);
  return {
    results: fn.results.map((_, j) => item(both, 2 * j)),
    tangents: fn.results.map((r, j) => (isFloat(dtypeOf(r)) ? item(both, 2 * j + 1) : null)),
  };
}
