/** Products of few bits by words of neighbours along the sum, two of bf16 or four integers of 8 bits, and the factor that each part of a
 *  word is.
 *
 *    word     x[i] | x[i + 1] << 16                    x[i] | x[i + 1] << 8 | x[i + 2] << 16 | x[i + 3] << 24
 *    part h   the f32 whose upper 16 bits are x[i + h]   the i32 that x[i + h] is */
import { dtypeOf, type Node } from "../../ir/node.ts";
import { and, bitcast, cast, or, scalar, shl, shr, xor } from "../../ops/build.ts";
import { affine, constIndex, mulIndex, subIndex } from "../../ops/indexing.ts";
import type { HardwareModel } from "../../runtime/hardware.ts";
import type { AccumulateNode, LoadNode, RangeNode } from "../nests.ts";

/** What a part of a word is. */
export type Part = "bf16" | "i8" | "u8";

/** Parts of a word: products that become one lane. */
export const PARTS: Readonly<Record<Part, number>> = { bf16: 2, i8: 4, u8: 4 };

const WORD = 32;

/** Features that say of a processor that it adds two products of bf16 to an f32 by one instruction. */
const instructions: ReadonlySet<string> = new Set(["avx512bf16", "neon-bf16"]);

/** Bytes are multiplied by fours everywhere; pairs of bf16, which then have sums of their own, where there is an instruction for it. */
export const hasParts = ({ features }: HardwareModel, part: Part): boolean =>
  part !== "bf16" || features.some((f) => instructions.has(f));

const isPart = (dtype: string): dtype is Part => dtype in PARTS;

/** The value of few bits that a factor is, and what it is. */
export function partOf(n: Node): { readonly value: Node; readonly part: Part } | undefined {
  const [value] = n.src;
  const part = n.op === "cast" && value ? dtypeOf(value) : "f32";
  return value && isPart(part) && dtypeOf(n) === (part === "bf16" ? "f32" : "i32") ? { value, part } : undefined;
}

const integer = (value: number): Node => scalar(value, "i32");

/** The bits of a value of few bits in the place of a part. */
function bitsOf(x: Node, place: number): Node {
  const dtype = dtypeOf(x);
  const bits = cast(dtype === "u8" ? x : bitcast(x, dtype === "i8" ? "u8" : "u16"), "i32");
  return place === 0 ? bits : shl(bits, integer((place * WORD) / PARTS[dtype as Part]));
}

/** What i8 is moved by to be u8. */
export const SIGN = 128;

/** The u8 that is greater by so much. */
export const withoutSign = (x: Node): Node => xor(bitcast(x, "u8"), scalar(SIGN, "u8"));

const signedOf = ({ op, src: [a, b] }: Node): Node | undefined =>
  op === "xor" && a?.op === "bitcast" && b?.op === "const" && b.attr.value === SIGN ? a.src[0] : undefined;

/** A word of such values. Bytes are moved together. */
export function word(values: readonly Node[]): Node {
  const signed = values.flatMap((x) => signedOf(x) ?? []);
  if (signed.length === values.length) return xor(word(signed), integer(values.reduce((all) => (all << 8) | SIGN, 0)));
  return values.map(bitsOf).reduce((all, bits) => or(all, bits));
}

/** The part of a word that a range says. */
export function factor(of: Node, h: RangeNode, part: Part): Node {
  const bits = WORD / PARTS[part];
  const last = WORD - bits;
  if (part === "u8") return and(shr(of, mulIndex(h, bits)), integer(2 ** bits - 1));
  const upper = shl(of, subIndex(constIndex(last), mulIndex(h, bits)));
  return part === "i8" ? shr(upper, integer(last)) : bitcast(and(upper, integer(-(2 ** last))), "f32");
}

/** A part of a word. */
interface Word {
  readonly of: Node;
  readonly part: Part;
  /** The bits that the word is moved by. */
  readonly by: Node;
}

/** The word of which a factor is a part, and what the part is. */
export function wordOf(n: Node): Word | undefined {
  const [inner, by] = n.src;
  const number = by?.op === "const" ? by.attr.value : undefined;
  if (n.op === "bitcast" && n.attr.dtype === "f32" && inner?.op === "and") return moved(inner.src[0], "shl", "bf16");
  if (n.op === "shr" && number === WORD - 8) return moved(inner, "shl", "i8");
  return n.op === "and" && number === 255 ? moved(inner, "shr", "u8") : undefined;
}

function moved(n: Node | undefined, op: "shl" | "shr", part: Part): Word | undefined {
  const [of, by] = n?.src ?? [];
  return n?.op === op && of && by && dtypeOf(of) === "i32" ? { of, part, by } : undefined;
}

/** The range of the parts of words of which a sum is one of products. */
export function partsOf({ attr, src: [value, ...ranges] }: AccumulateNode): RangeNode | undefined {
  if (attr.kind !== "sum" || value?.op !== "mul") return undefined;
  const [a, b] = value.src.map(wordOf);
  if (!a || !b || PARTS[a.part] !== PARTS[b.part]) return undefined;
  const says = (r: RangeNode) => (w: Word) => Math.abs(affine(w.by).terms.get(r) ?? 0) === WORD / PARTS[w.part];
  return (ranges as RangeNode[]).find(
    (r) => r.attr.kind === "unroll" && r.attr.extent === PARTS[a.part] && [a, b].every(says(r)),
  );
}

/** The load of the first part of a word whose parts are neighbours in memory, as words are. */
export function firstOf(n: Node): LoadNode | undefined {
  if (n.op !== "or" || dtypeOf(n) !== "i32") return undefined;
  const loads = loadsOf(n);
  const [first] = loads;
  if (!first || loads.length !== PARTS[dtypeOf(first) as Part]) return undefined;
  const { terms, constant } = affine(first.src[1] as Node);
  const isNext = loads.every((load, place) => {
    const other = affine(load.src[1] as Node);
    return (
      load.src[0] === first.src[0] &&
      load.src.length === 2 &&
      other.constant === constant + place &&
      other.terms.size === terms.size &&
      [...terms].every(([atom, k]) => other.terms.get(atom) === k)
    );
  });
  return isNext && [constant, ...terms.values()].every((k) => k % loads.length === 0) ? first : undefined;
}

/** The loads of the parts of a word that is made of loads alone. */
export function loadsOf(n: Node): readonly LoadNode[] {
  const [a, b] = n.src as [Node, Node];
  if (n.op === "or") {
    const before = loadsOf(a);
    const [next] = b.op === "shl" ? loadsOf(b.src[0] as Node) : [];
    return before.length > 0 && next ? [...before, next] : [];
  }
  const inner = n.op === "cast" && a.op === "bitcast" ? (a.src[0] as Node) : a;
  return n.op === "cast" && inner.op === "load" ? [inner] : [];
}

/** Parts of the words that are read as one, of which this is the first. */
export const sizeOf = (first: LoadNode): number => PARTS[dtypeOf(first) as Part];
