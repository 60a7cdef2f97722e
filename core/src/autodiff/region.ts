/** The derivative of a call: the body is differentiated once for all calls of it.
 *
 *    %y = call f(%x)      →     %y, %r = call f.forward(%x)        %r: what the backward pass needs and should not recompute
 *                               %gx    = call f.backward(%x, %r, %gy)
 *
 *  Saved are results of contractions, reductions and indexed accesses; element-wise values between them are recomputed in the backward
 *  pass, where they fuse into their users. The original call and `f.forward` then compute the same thing twice:
 *  `compiler/absorb.ts` lets the second serve for both. A function of `rematerialised` saves nothing; one with a custom rule calls it. */
import { copy } from "../ir/copy.ts";
import { type Fn, makeFn } from "../ir/fn.ts";
import { isFloat } from "../ir/dtype.ts";
import { dimsOf, dtypeOf, type Node, type NodeOf } from "../ir/node.ts";
import { isTuple, type Type } from "../ir/type.ts";
import { within } from "../ir/scope.ts";
import { call, fill, item, scalar } from "../ops/build.ts";
import { define, newScope } from "../ops/table.ts";

interface Halves {
  /** The body's results, then the residuals. */
  readonly forward: Fn;
  /** Parameters, residuals, cotangents → cotangents of the sources that `flows` lists. */
  readonly backward: Fn;
  readonly flows: readonly number[];
  readonly residuals: number;
}

const made = new WeakMap<Fn, Map<string, Halves>>();

/** Derivatives that somebody wrote: parameters, results, cotangents → cotangents of all parameters. */
export const customRules = new WeakMap<Fn, Fn>();

/** Functions of whose values nothing is kept for the backward pass. */
export const rematerialised = new WeakSet<Fn>();

/** The function that a forward half computes and more: its first results are that function's. */
export const extended = new WeakMap<Fn, Fn>();

/** Reverse mode itself, which a call's body is given to. */
export type Backward = (
  roots: readonly Node[],
  cotangents: readonly (Node | null)[],
  wrt: readonly Node[],
) => (Node | null)[];

/** Cotangents of a call's sources, where `needed`. */
export function callBackward(
  node: NodeOf<"call">,
  cotangents: readonly (Node | null)[],
  needed: readonly boolean[],
  backward: Backward,
): (Node | null)[] {
  const { fn } = node.attr;
  const rule = customRules.get(fn);
  if (rule) {
    const given = call(rule, [
      ...node.src,
      ...fn.results.map((_, j) => item(node as Node, j)),
      ...fn.results.map((r, j) => cotangents[j] ?? fill(scalar(0, dtypeOf(r)), dimsOf(r))),
    ]);
    return node.src.map((s, i) => (needed[i] && isFloat(dtypeOf(s)) ? item(given, i) : null));
  }
  const present = fn.results.map((_, j) => Boolean(cotangents[j]));
  const halves = halvesOf(fn, present, needed, backward);
  const forward = call(halves.forward, node.src);
  const residuals = Array.from({ length: halves.residuals }, (_, k) => item(forward, fn.results.length + k));
  const grads = call(halves.backward, [...node.src, ...residuals, ...cotangents.filter((g): g is Node => Boolean(g))]);
  const flows: (Node | null)[] = node.src.map(() => null);
  halves.flows.forEach((source, k) => {
    flows[source] = item(grads, k);
  });
  return flows;
}

function halvesOf(fn: Fn, present: readonly boolean[], needed: readonly boolean[], backward: Backward): Halves {
  const key = `${present.map(Number).join("")} ${needed.map(Number).join("")}`;
  const cache = made.get(fn) ?? new Map<string, Halves>();
  made.set(fn, cache);
  const known = cache.get(key);
  if (known) return known;
  const halves = differentiate(fn, present, needed, backward);
  cache.set(key, halves);
  return halves;
}

function differentiate(fn: Fn, present: readonly boolean[], needed: readonly boolean[], backward: Backward): Halves {
  const scope = newScope();
  return within(scope, () => {
    const param = (index: number, type: Type) => scope.make("param", [], { index, name: "", type });
    const params = fn.params.map((p, i) => param(i, p.type));
    const known = new Map<Node, Node>(fn.params.map((p, i) => [p as Node, params[i] as Node]));
    const results = copy(fn.results, known);
    const body = new Set(known.values());
    // Cotangents get provisional numbers: how many residuals come before them is not known yet.
    const provisional = results.map((r, j) => (present[j] ? (param(params.length + j, r.type) as Node) : null));
    const wrt = params.filter((_, i) => needed[i]) as Node[];
    const grads = backward(results, provisional, wrt);
    const flows = needed.flatMap((n, i) => (n ? [i] : [])).filter((_, k) => grads[k]);
    const wanted = grads.filter((g): g is Node => g !== null);

    const residuals = rematerialised.has(fn) ? [] : residualsOf(wanted, body);
    const forward = makeFn(`${fn.name}.forward`, params, [...results, ...residuals]);
    extended.set(forward, fn);

    const own = newScope();
    const back = within(own, () => {
      let index = 0;
      const bound = new Map<Node, Node>();
      const bind = (n: Node) => {
        const p = own.make("param", [], { index: index++, name: "", type: n.type });
        bound.set(n, p);
        return p;
      };
      const all = [...(params as Node[]), ...residuals, ...provisional.filter((g): g is Node => g !== null)].map(bind);
      return makeFn(`${fn.name}.backward`, all, copy(wanted, bound));
    });
    return { forward, backward: back, flows, residuals: residuals.length };
  });
}

/** The nodes of the forward body that the backward pass reads, cut at what is worth saving. */
function residualsOf(grads: readonly Node[], body: ReadonlySet<Node>): Node[] {
  const saved = new Set<Node>();
  const seen = new Set<Node>();
  const stack = [...grads];
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    if (body.has(node) && isWorthSaving(node)) saved.add(node);
    else stack.push(...node.src);
  }
  return [...saved].sort((a, b) => a.id - b.id);
}

const expensive: ReadonlySet<string> = new Set(["reduce", "contraction", "indexed"]);
const isWorthSaving = (node: Node): boolean =>
  !isTuple(node.type) && (expensive.has(define(node.op).role) || node.op === "item");
