/** Indices through remainders and quotients, as those of a sum over several axes as one: what stays below a divisor that all else is a
 *  multiple of has no part in the division, and stands beside it. Neighbours then are seen to be neighbours in memory.
 *
 *    (32 r + lane) mod 1024    →    (32 r) mod 1024 + lane        where lane < 32
 *    ⌊(32 r + lane) / 1024⌋    →    ⌊32 r / 1024⌋ */
import { type Fn, topological } from "../ir/fn.ts";
import type { Node } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { build } from "../ops/build.ts";
import { addIndex, affine, bounds, constIndex, divIndex, modIndex, mulIndex, subIndex } from "../ops/indexing.ts";
import { kernelNode, loadsIn, makeNest, makeRange, type RangeNode, replaceNests } from "./nests.ts";
import { substitute } from "./substitute.ts";

/** The kernel with such indices in its loads. */
export const nearIndices = (kernel: Fn): Fn =>
  within(kernelNode(kernel).scope, () =>
    replaceNests(kernel, (nest) => {
      if (!loadsIn(nest.src).some(({ src: [, index] }) => near(index as Node) !== index)) return [nest];
      const node = (n: Node, src: readonly Node[]): Node | undefined =>
        n.op === "load" ? build("load", [src[0] as Node, near(src[1] as Node), ...src.slice(2)], n.attr) : undefined;
      return [makeNest(substitute(nest.src, { range: () => undefined, node }), nest.attr.order)];
    }),
  );

/** Of a value's loads, those whose neighbours along a range are neighbours in memory, for each run of so many. */
export const contiguousRuns = (value: Node, r: RangeNode, lanes: number): number =>
  within(value.scope, () => {
    const ids = topological([value]).flatMap((n) => (n.op === "range" ? [n.attr.id] : []));
    const id = Math.max(...ids) + 1;
    const lane = makeRange(id, lanes, "vector");
    const run = makeRange(id + 1, Math.ceil(r.attr.extent / lanes), "reduce");
    const place = addIndex(mulIndex(run, lanes), lane);
    const [cut] = substitute([value], { range: (n) => (n === r ? place : undefined) }) as [Node];
    return loadsIn([cut]).filter(({ src: [, index] }) => affine(near(index as Node)).terms.get(lane) === 1).length;
  });

function near(index: Node): Node {
  let sum = index;
  for (const [atom, c] of affine(index).terms) {
    const [x, k] = atom.src;
    if ((atom.op !== "mod" && atom.op !== "idiv") || !x || k?.op !== "const") continue;
    const whole = near(x);
    const low = below(whole, k.attr.value);
    if (!low && whole === x) continue;
    const rest = low ? subIndex(whole, low) : whole;
    const cut = atom.op === "mod" ? modIndex(rest, k.attr.value) : divIndex(rest, k.attr.value);
    const instead = low && atom.op === "mod" ? addIndex(cut, low) : cut;
    sum = addIndex(sum, subIndex(mulIndex(instead, c), mulIndex(atom, c)));
  }
  return sum;
}

/** The part of x that stays below a divisor of k of which all else is a multiple; undefined where there is none, or nothing else. */
function below(x: Node, k: number): Node | undefined {
  const { terms, constant } = affine(x);
  for (const g of terms.values()) {
    if (g < 2 || k % g !== 0) continue;
    const part = [...terms].reduce(
      (sum, [atom, c]) => (c % g === 0 ? sum : addIndex(sum, mulIndex(atom, c))),
      constIndex(((constant % g) + g) % g),
    );
    const [least, most] = bounds(part);
    if (least >= 0 && most < g && most > 0) return part;
  }
  return undefined;
}
