/** Sums over a row that pick one element of it: of all terms but the one that a number in memory names, 0 is added. Cross entropy picks
 *  the target's logit so, as a gather would keep its gradient from being fused. In a row of its own the sum is that one load.
 *
 *    accumulate sum(where(eq(k, id), x[8·m + k], 0)) over k    →    where(0 ≤ id < 8, x[8·m + id] + 0, 0)
 */
import { dtypeOf, type Node } from "../ir/node.ts";
import { add, scalar, where } from "../ops/build.ts";
import { betweenIndex } from "../ops/indexing.ts";
import { type RangeNode, rangesIn } from "./nests.ts";
import { substitute } from "./substitute.ts";

/** The value with such sums replaced; the bits are the same. */
export const withPicked = (value: Node): Node =>
  substitute([value], {
    range: () => undefined,
    node: (n, src) => (n.op === "accumulate" && n.attr.kind === "sum" ? picked(src) : undefined),
  })[0] as Node;

/** @param src  of the accumulate: its terms, and the ranges over which it runs */
function picked([term, ...over]: readonly Node[]): Node | undefined {
  const [range] = over;
  if (over.length !== 1 || range?.op !== "range" || term?.op !== "where") return undefined;
  const [condition, value, otherwise] = term.src as [Node, Node, Node];
  if (condition.op !== "eq" || otherwise.op !== "const" || otherwise.attr.value !== 0) return undefined;
  const id = condition.src.find((s) => s !== range);
  if (!id || !condition.src.includes(range) || rangesIn([id]).has(range.attr.id)) return undefined;
  const inside = betweenIndex(id, range.attr.extent);
  const at = substitute([value], {
    range: (r: RangeNode) => (r === range ? id : undefined),
    ...(inside && { guard: { condition: inside, needs: () => true } }),
  })[0] as Node;
  // A sum of −0 and zeros is +0.
  const zero = scalar(0, dtypeOf(value));
  const sum = add(at, zero);
  return inside ? where(inside, sum, zero) : sum;
}
