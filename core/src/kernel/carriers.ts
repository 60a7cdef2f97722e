/** Arithmetic on narrow dtypes becomes arithmetic in the dtypes that carry them: f16 and bf16 are computed in f32, integers of
 *  8 and 16 bits in i32, and each result is rounded to its node's dtype, so a fused chain has the bits of its ops one by one.
 *
 *    add(%x, %y) : bf16    →    cast(add(cast(%x) : f32, cast(%y) : f32)) : bf16
 *
 *  f32 has more than twice the digits of either, so sums, products, quotients and roots are rounded as if once (Figueroa
 *  1995, "When is double rounding innocuous?"). An accumulation is rounded at its end alone. */
import { carrierOf, type DType, isFloat, roundTo } from "../ir/dtype.ts";
import type { Fn } from "../ir/fn.ts";
import { identityOf } from "../interpreter/contraction.ts";
import { dtypeOf, type Node, type NodeOf, type Op } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { build, cast, scalar } from "../ops/build.ts";
import { define } from "../ops/table.ts";
import { addCarriers, isNarrow, isNarrowWork } from "./narrow.ts";
import { kernelNode, makeNest, replaceNests } from "./nests.ts";
import { substitute } from "./substitute.ts";

/** From here on there is arithmetic on narrow dtypes. */
export const computeNarrow = (): void => addCarriers(computeInCarriers);

/** The kernel with narrow dtypes at loads, stores and casts alone. */
const computeInCarriers = (kernel: Fn): Fn =>
  within(kernelNode(kernel).scope, () => {
    const node = carriers();
    return replaceNests(kernel, (nest) => [
      makeNest(substitute(nest.src, { range: () => undefined, node }), nest.attr.order),
    ]);
  });

/** Ops that choose among their operands or clear digits of them: of representable values the result is one. */
const choosing: ReadonlySet<Op> = new Set<Op>(["max", "min", "where", "and", "or", "xor", "shr"]);
const clearing: ReadonlySet<Op> = new Set<Op>(["neg", "abs", "sign", "floor", "round"]);

function carriers(): (n: Node, src: readonly Node[]) => Node | undefined {
  /** Values in carriers that are representable in the narrow dtype, so that rounding them changes nothing. */
  const exact = new Map<DType, Set<Node>>();
  const markExact = (n: Node, dtype: DType): Node => {
    const known = exact.get(dtype) ?? new Set();
    exact.set(dtype, known.add(n));
    return n;
  };
  const isExact = (n: Node, dtype: DType): boolean => exact.get(dtype)?.has(n) === true;
  const widened = (x: Node): Node => {
    const dtype = dtypeOf(x);
    if (!isNarrow(x)) return x;
    const inner = x.op === "cast" ? (x.src[0] as Node) : undefined;
    return inner && isExact(inner, dtype) ? inner : markExact(cast(x, carrierOf(dtype)), dtype);
  };
  const constant = (value: number, dtype: DType): Node =>
    cast(markExact(scalar(roundTo(dtype, value), carrierOf(dtype)), dtype), dtype);

  const accumulate = (n: NodeOf<"accumulate">, [value, ...ranges]: readonly Node[]): Node => {
    const dtype = dtypeOf(n);
    // The carrier's identity would not wrap to the narrow one's.
    if (ranges.some((r) => r.op === "range" && r.attr.extent === 0))
      return constant(identityOf(n.attr.kind, dtype), dtype);
    const x = widened(value as Node);
    const total = build("accumulate", [x, ...ranges], n.attr);
    const extremum = n.attr.kind === "max" || n.attr.kind === "min";
    return cast(extremum && isExact(x, dtype) ? markExact(total, dtype) : total, dtype);
  };

  return (n, src) => {
    if (n.op === "cast") {
      const x = src[0] as Node;
      if (!isNarrow(x)) return undefined;
      const wide = widened(x);
      if (n.attr.dtype === carrierOf(dtypeOf(x))) return wide;
      // What was rounded to the narrow dtype without a change needs no way through it.
      return x.op === "cast" && wide === x.src[0] ? cast(wide, n.attr.dtype) : undefined;
    }
    if (!isNarrowWork(n)) return undefined;
    if (n.op === "const") return constant(n.attr.value, n.attr.dtype);
    if (n.op === "accumulate") return accumulate(n, src);
    if (define(n.op).role !== "elementwise") return undefined;
    const operands = src.map(widened);
    const dtype = dtypeOf(n);
    const value = build(n.op, operands, n.attr) as Node;
    const preserves = choosing.has(n.op) || (clearing.has(n.op) && isFloat(dtype));
    const values = n.op === "where" ? operands.slice(1) : operands;
    return cast(preserves && values.every((v) => isExact(v, dtype)) ? markExact(value, dtype) : value, dtype);
  };
}
