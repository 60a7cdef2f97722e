/** Values of 4-bit codes: what is computed of `x & 15` alone, and of values that all lanes share, has sixteen results. They are computed once,
 *  as lanes of a vector, and looked up by an instruction that takes no notice of the other bits of x. */
import { dtypeOf, type Node, type Op } from "../../ir/node.ts";
import type { RangeNode } from "../nests.ts";
import { substitute } from "../substitute.ts";

/** How many codes there are; lanes of the vector that holds their values. */
export const CODES = 16;

const ops: ReadonlySet<Op> = new Set<Op>(["add", "sub", "mul", "neg"]);

/** The x & 15 of which alone a value that varies is made; undefined where it is made of more. */
export function codeOf(n: Node, varies: (n: Node) => boolean): Node | undefined {
  if (n.op === "and")
    return dtypeOf(n) === "i32" && n.src[1]?.op === "const" && n.src[1].attr.value === CODES - 1 ? n : undefined;
  const isCast = n.op === "cast" && dtypeOf(n.src[0] as Node) === "i32";
  if (dtypeOf(n) !== "f32" || !(isCast || ops.has(n.op))) return undefined;
  const codes = new Set(n.src.filter(varies).map((s) => codeOf(s, varies)));
  const [code] = codes;
  return codes.size === 1 ? code : undefined;
}

/** The value for each code, as the lanes of a vector. */
export const valuesOf = (n: Node, code: Node, lane: RangeNode): Node =>
  substitute([n], { range: () => undefined, node: (m) => (m === code ? lane : undefined) })[0] as Node;
