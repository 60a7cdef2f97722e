/** An index as the digits of a number: which part of it tells two iterations apart. Shared loops, vectors and instances side by side rest
 *  on it, as what two iterations store must not meet. */
import type { Node, NodeOf } from "../ir/node.ts";
import { affine, bounds } from "../ops/indexing.ts";
import { type RangeNode, reaches } from "./nests.ts";

/** A part of an index: a multiple of something that takes `span + 1` values. */
interface Digit {
  readonly stride: number;
  readonly span: number;
}

/** Whether two indices differ whenever this part of them does. What has smaller strides must move less than one step of it. Of the
 *  greater strides, one that is longer than all so far reach together joins them, as the digits of a number do; or else all
 *  that are left move in steps longer than that. */
function isDigit({ stride, span }: Digit, others: readonly Digit[]): boolean {
  const step = Math.abs(stride);
  if (span === 0) return true;
  if (step === 0) return false;
  const moving = others.filter((d) => d.span > 0).map((d) => ({ step: Math.abs(d.stride), span: d.span }));
  const low = moving.filter((d) => d.step < step).reduce((sum, d) => sum + d.step * d.span, 0);
  if (low >= step) return false;
  const high = moving.filter((d) => d.step >= step).sort((a, b) => a.step - b.step);
  let reach = low + step * span;
  for (; high.length > 0; high.shift()) {
    if (high.reduce((g, d) => gcd(g, d.step), 0) > reach) return true;
    const next = high[0] as { step: number; span: number };
    if (next.step <= reach) return false;
    reach += next.step * next.span;
  }
  return true;
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

const digit = ([atom, stride]: readonly [Node, number]): Digit => ({ stride, span: bounds(atom)[1] - bounds(atom)[0] });

/** The index as digits, each with the parts of the index that it stands for. Where the mask says e < limit, the parts of e are one
 *  digit of `limit` values. */
function digitsOf(
  terms: ReadonlyMap<Node, number>,
  mask: Node | undefined,
): { readonly digit: Digit; readonly of: ReadonlyMap<Node, number> }[] {
  const digits: { readonly digit: Digit; readonly of: ReadonlyMap<Node, number> }[] = [];
  const left = new Map(terms);
  for (const {
    src: [e, limit],
  } of conjuncts(mask)) {
    if (!e || limit?.op !== "const" || bounds(e)[0] < 0) continue;
    const of = affine(e).terms;
    const [first] = of;
    const stride = first ? (left.get(first[0]) ?? 0) / first[1] : 0;
    if (stride === 0 || [...of].some(([atom, k]) => left.get(atom) !== k * stride)) continue;
    for (const atom of of.keys()) left.delete(atom);
    digits.push({ digit: { stride, span: limit.attr.value - 1 }, of });
  }
  for (const [atom, k] of left) digits.push({ digit: digit([atom, k]), of: new Map([[atom, 1]]) });
  return digits;
}

/** Whether the index, with whatever `more` adds to it, differs for any two iterations of the range in which the mask holds. */
export function tellsApart(index: Node, r: RangeNode, mask: Node | undefined, more: readonly Digit[] = []): boolean {
  const { terms } = affine(index);
  if (r.attr.extent <= 1) return true;
  if (!terms.has(r) || [...terms.keys()].some((atom) => atom !== r && reaches(atom, r))) return false;
  const digits = digitsOf(terms, mask);
  const own = digits.find((d) => d.of.has(r));
  if (!own) return false;
  const within = [...own.of].filter(([atom]) => atom !== r).map(digit);
  const others = [...digits.filter((d) => d !== own).map((d) => d.digit), ...more];
  return isDigit(digit([r, own.of.get(r) as number]), within) && isDigit(own.digit, others);
}

/** The conditions `a < b` that hold wherever the mask does. */
export function conjuncts(mask: Node | undefined): NodeOf<"lt">[] {
  if (mask?.op === "and") return mask.src.flatMap(conjuncts);
  return mask?.op === "lt" ? [mask] : [];
}
