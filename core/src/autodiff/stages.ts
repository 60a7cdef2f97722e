/** A backward half cut again: the gradients that the pass goes on with, and those that may wait.
 *
 *    %d = f.backward(%x, %r, %g)    →    %dx, %h = f.backwardInputs(%x, %r, %g)        %h: what the second finds computed
 *                                        %dw     = f.backwardWeights(%x, %r, %g, %h)
 *
 *  A pipeline runs the second of them where it would have waited (Qi et al. 2024, arXiv:2401.10241, section 2). Each is given only what
 *  it reads, so that what is handed over is all that lives until then. */
import { copy } from "../ir/copy.ts";
import { type Fn, makeFn, topological } from "../ir/fn.ts";
import type { Node } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { call, item } from "../ops/build.ts";
import { define, newScope } from "../ops/table.ts";
import { bits, type Memo, once } from "./memo.ts";
import { isWorthSaving, residualsOf } from "./split.ts";

interface Stage {
  readonly fn: Fn;
  /** Its arguments, as places among those of the whole, behind which stand the values that are handed over. */
  readonly reads: readonly number[];
}

interface Stages {
  readonly inputs: Stage;
  readonly weights: Stage;
  readonly handed: number;
}

const made: Memo<Stages> = new WeakMap();

/** The results of `backward` by two calls.
 *  @param later  which of them may wait */
export function callStages(backward: Fn, name: string, later: readonly boolean[], args: readonly Node[]): Node[] {
  const { inputs, weights, handed } = once(made, backward, bits(later), () => cut(backward, name, later));
  const first = call(
    inputs.fn,
    inputs.reads.map((i) => args[i] as Node),
  );
  const count = later.filter((l) => !l).length;
  const all = [...args, ...Array.from({ length: handed }, (_, i) => item(first, count + i))];
  const second = call(
    weights.fn,
    weights.reads.map((i) => all[i] as Node),
  );
  const next = { early: 0, late: 0 };
  return later.map((l) => (l ? item(second, next.late++) : item(first, next.early++)));
}

function cut(backward: Fn, name: string, later: readonly boolean[]): Stages {
  const early = backward.results.filter((_, i) => !later[i]);
  const late = backward.results.filter((_, i) => later[i]);
  const first = new Set(topological(early));
  // What has several results has computed them all.
  const isFirst = (n: Node): boolean => first.has(n) || (n.op === "item" && first.has(n.src[0] as Node));
  const factors = factorsIn(late, isFirst);
  const handed = residualsOf(late, (n) => n.op !== "param" && isFirst(n) && (isWorthSaving(n) || factors.has(n)));
  return {
    inputs: stage(`${name}.backwardInputs`, backward.params, [...early, ...handed]),
    weights: stage(`${name}.backwardWeights`, [...backward.params, ...handed], late),
    handed: handed.length,
  };
}

/** What products of the later half are made of and the first half has: it stores them for products of its own. */
function factorsIn(late: readonly Node[], isFirst: (n: Node) => boolean): ReadonlySet<Node> {
  const found = new Set<Node>();
  for (const n of topological(late)) {
    if (define(n.op).role !== "contraction") continue;
    for (const s of n.src) {
      let factor = s;
      while (!isFirst(factor) && define(factor.op).role === "movement") factor = factor.src[0] as Node;
      if (isFirst(factor)) found.add(factor);
    }
  }
  return found;
}

function stage(name: string, given: readonly Node[], results: readonly Node[]): Stage {
  const ends = new Set(given);
  const read = new Set(topological(results, (n) => !ends.has(n)));
  const scope = newScope();
  return within(scope, () => {
    const reads = given.flatMap((n, i) => (read.has(n) ? [i] : []));
    const params = reads.map((at, index) =>
      scope.make("param", [], { index, name: "", type: (given[at] as Node).type }),
    );
    const known = new Map(reads.map((at, i) => [given[at] as Node, params[i] as Node]));
    return { fn: makeFn(name, params, copy(results, known)), reads };
  });
}
