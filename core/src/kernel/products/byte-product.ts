/** Products of integers of 8 bits: which values of i32 are bytes of memory, as they lie or by operations that act on each byte alone. */
import { dtypeOf, type Node } from "../../ir/node.ts";
import type { AccumulateNode, RangeNode } from "../nests.ts";

/** Products that become one lane. */
export const TERMS = 4;

/** Whether an i32 value has the range of i8 or u8 and is made of bytes of memory by operations on bytes; undefined where it is not. */
export function byteOf(n: Node): "i8" | "u8" | undefined {
  const [a, b] = n.src;
  if (n.op === "cast" && a?.op === "load" && a.src.length === 2) {
    const dtype = dtypeOf(a);
    return dtype === "i8" || dtype === "u8" ? dtype : undefined;
  }
  if (!a || !b || byteOf(a) !== "u8") return undefined;
  if (n.op === "and" || n.op === "xor")
    return b.op === "const" && b.attr.value >= 0 && b.attr.value < 256 ? "u8" : undefined;
  return n.op === "shr" ? "u8" : undefined;
}

/** The loads that a byte is made of. */
export const loadOf = (n: Node): Node => (n.op === "cast" ? (n.src[0] as Node) : loadOf(n.src[0] as Node));

/** The largest number that a byte can be. */
function mostOf(n: Node): number {
  const [a, b] = n.src;
  if (n.op === "and" && a && b?.op === "const") return Math.min(b.attr.value, mostOf(a));
  return 255;
}

/** Bytes without a sign up to here: two products by others with one fit into 16 bits with a sign. */
const SMALL = 127;

/** The bytes of which a sum of products is one; undefined for any other. */
export function byteProduct({ attr, src: [value] }: AccumulateNode): readonly ["i8" | "u8", "i8" | "u8"] | undefined {
  if (attr.kind !== "sum" || value?.op !== "mul" || dtypeOf(value) !== "i32") return undefined;
  const [a, b] = value.src.map(byteOf);
  return a && b ? [a, b] : undefined;
}

/** The range of the four parts of such a sum. */
export const quadOf = (sum: AccumulateNode): RangeNode | undefined =>
  byteProduct(sum)
    ? (sum.src.slice(1) as RangeNode[]).find((r) => r.attr.kind === "unroll" && r.attr.extent === TERMS)
    : undefined;

/** The helper that adds products of such bytes, of which the one without a sign is given first; and whether it is the second one.
 *  @param factors  which they are, where that is known: small ones have a helper of their own */
export function dotOf(
  [a, b]: readonly ["i8" | "u8", "i8" | "u8"],
  factors: readonly Node[] = [],
): { readonly op: "dot4_us" | "dot4_ls" | "dot4_ss" | "dot4_uu"; readonly isTurned: boolean } {
  if (a === b) return { op: a === "i8" ? "dot4_ss" : "dot4_uu", isTurned: false };
  const isTurned = a === "i8";
  const factor = factors[isTurned ? 1 : 0];
  return { op: factor && mostOf(factor) <= SMALL ? "dot4_ls" : "dot4_us", isTurned };
}
