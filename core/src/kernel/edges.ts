/** Steps of a convolution's sum that see nothing but the zeros around its image. They add nothing, so loops leave them out: of a window of
 *  3² on an image of 4² those are 4 steps of 9 for its corners, 3 in 10 of all. An infinite weight beside a zero then gives none either.
 *
 *    for y: for k < 3: … x[(y + k) · width + …]    →    for k from max(1 − y, 0) to min(height + 1 − y, 3) */
import type { Edge, Node } from "../ir/node.ts";
import { affine, bounds, constIndex, subIndex, sumIndex } from "../ops/indexing.ts";
import type { AccumulateNode, RangeNode } from "./nests.ts";

/** A place along an axis: a constant, and terms so many times each. */
interface Place {
  readonly constant: number;
  readonly terms: ReadonlyMap<Node, number>;
}

/** The iterations of a loop that see elements: from a bound on, up to before another one. Undefined: from the first, to the last. */
export interface Span {
  readonly begin: Node | undefined;
  readonly end: Node | undefined;
}

/** Where the first factor of a product lies along an axis of its array, or undefined where it does not lie there in a simple way. */
function placeAlong(value: Node, [stride, extent]: Edge): Place | undefined {
  const [load] = value.src;
  if (value.op !== "mul" || load?.op !== "load" || load.src.length !== 2 || load.src[0]?.op !== "param")
    return undefined;
  const { constant, terms } = affine(load.src[1] as Node);
  const own = new Map<Node, number>();
  let below = constant % stride;
  let most = Math.floor(constant / stride) % extent;
  const place = most;
  for (const [atom, k] of terms) {
    const [least, greatest] = bounds(atom);
    if (k < 1 || least < 0) return undefined;
    if (k % (stride * extent) === 0) continue;
    if (k % stride === 0) {
      own.set(atom, k / stride);
      most += (k / stride) * greatest;
    } else below += k * greatest;
  }
  // Otherwise a part of the index is of several axes.
  return constant >= 0 && below < stride && most < extent ? { constant: place, terms: own } : undefined;
}

/** For a range of a sum along which an axis is walked one by one or in steps, with all else known before it: which iterations count.
 *  @param isKnown  whether an index is known before the loop */
export function spanOf(sum: AccumulateNode, r: RangeNode, isKnown: (atom: Node) => boolean): Span | undefined {
  const [value] = sum.src as [Node];
  for (const edge of sum.attr.edges ?? []) {
    const [, extent, low, high] = edge;
    const at = placeAlong(value, edge);
    const step = at?.terms.get(r);
    if (!at || step !== 1) continue;
    const others = [...at.terms].filter(([atom]) => atom !== r);
    if (!others.every(([atom]) => isKnown(atom))) continue;
    const before = sumIndex(at.constant, ...others);
    const begin = subIndex(constIndex(low), before);
    const end = subIndex(constIndex(extent - high), before);
    return {
      begin: bounds(begin)[1] <= 0 ? undefined : begin,
      end: bounds(end)[0] >= r.attr.extent ? undefined : end,
    };
  }
  return undefined;
}

/** The iterations of a loop that is written out in which a step sees elements; undefined where it does in all, or that depends on more. */
export function guardOf(
  sum: AccumulateNode,
  step: Node,
  r: RangeNode,
): { readonly from: number; readonly to: number } | undefined {
  let [from, to] = [0, r.attr.extent];
  for (const edge of sum.attr.edges ?? []) {
    const [, extent, low, high] = edge;
    const at = placeAlong(step, edge);
    if (at?.terms.get(r) !== 1 || at.terms.size > 1) continue;
    from = Math.max(from, low - at.constant);
    to = Math.min(to, extent - high - at.constant);
  }
  return from > 0 || to < r.attr.extent ? { from, to } : undefined;
}
