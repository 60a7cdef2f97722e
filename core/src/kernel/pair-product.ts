/** Products of bf16 in f32, by pairs: words of two neighbours along the sum, and the f32 that each half of a word is.
 *
 *    word     x[i] | x[i + 1] << 16
 *    half h   the f32 whose upper 16 bits are those of x[i + h] */
import { dtypeOf, type Node } from "../ir/node.ts";
import { and, bitcast, cast, or, scalar, shl } from "../ops/build.ts";
import { affine, constIndex, mulIndex, subIndex } from "../ops/indexing.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import type { AccumulateNode, LoadNode, RangeNode } from "./nests.ts";

/** Products that become one lane. */
export const PAIR = 2;

const bits = 16;

/** Features that say of a processor that it adds two products of bf16 to an f32 by one instruction. */
const instructions: ReadonlySet<string> = new Set(["avx512bf16", "neon-bf16"]);

export const hasPairs = ({ features }: HardwareModel): boolean => features.some((f) => instructions.has(f));

/** The bf16 that an f32 is. */
export function pairedOf(n: Node): Node | undefined {
  const [x] = n.src;
  return n.op === "cast" && n.attr.dtype === "f32" && x && dtypeOf(x) === "bf16" ? x : undefined;
}

const integer = (value: number): Node => scalar(value, "i32");
const bitsOf = (x: Node): Node => cast(bitcast(x, "u16"), "i32");

/** A word of two values of bf16. */
export const word = (low: Node, high: Node): Node => or(bitsOf(low), shl(bitsOf(high), integer(bits)));

/** The half of a word that a range of two says. */
export const half = (of: Node, h: RangeNode): Node =>
  bitcast(and(shl(of, subIndex(constIndex(bits), mulIndex(h, bits))), integer(-(2 ** bits))), "f32");

/** The word of which an f32 is a half. */
export function wordOf(n: Node): Node | undefined {
  const [masked] = n.src;
  const moved = masked?.src[0];
  return n.op === "bitcast" && n.attr.dtype === "f32" && masked?.op === "and" && moved?.op === "shl"
    ? moved.src[0]
    : undefined;
}

/** Whether a sum is one of products of halves. */
const isPairProduct = ({ attr, src: [value] }: AccumulateNode): boolean =>
  attr.kind === "sum" && value?.op === "mul" && value.src.every(wordOf);

/** The range of the two of a pair. */
export const halfOf = (sum: AccumulateNode): RangeNode | undefined =>
  isPairProduct(sum)
    ? (sum.src.slice(1) as RangeNode[]).find((r) => r.attr.kind === "unroll" && r.attr.extent === PAIR)
    : undefined;

/** The load of the first half of a word whose two are neighbours in memory, as words are. */
export function firstOf(n: Node): LoadNode | undefined {
  const [low, moved] = n.src;
  if (n.op !== "or" || low?.op !== "cast" || moved?.op !== "shl") return undefined;
  const [first, second] = [low, moved.src[0]].map((x) => x?.src[0]?.src[0]);
  if (first?.op !== "load" || second?.op !== "load" || first.src.length > 2 || second.src.length > 2) return undefined;
  if (first.src[0] !== second.src[0] || dtypeOf(first) !== "bf16") return undefined;
  const [a, b] = [first, second].map((load) => affine(load.src[1] as Node)) as [
    ReturnType<typeof affine>,
    ReturnType<typeof affine>,
  ];
  const isNext =
    b.constant === a.constant + 1 &&
    a.terms.size === b.terms.size &&
    [...a.terms].every(([atom, k]) => b.terms.get(atom) === k);
  const isEven = [a.constant, ...a.terms.values()].every((k) => k % PAIR === 0);
  return isNext && isEven ? first : undefined;
}
