/** Products of weights in blocks and rows that are rounded to 8 bits: integers within 32 terms, whose sum two scales make a number.
 *
 *    y[m, n] = Σ_b (Σ_k codes[m, b, k] · w.codes[n, b, k] − zeros[m, b]) · w.scales[n, b] · scales[m, b]
 *    y[m, n] = Σ_b (Σ_k codes[m, b, k] · w.codes[n, b, k]) · w.scales[n, b] · scales[m, b] + zeros[m, b] · w.minima[n, b]
 *
 *  The codes of weights have no sign here, as instructions want them: `zeros` are the row's codes of each block, added up, times the
 *  code that stands for 0; beside minima (the second line), with the other sign, times the row's scale. The inner sums are exact; the outer
 *  one is in the order of the blocks. */
import { ArgumentError, DTypeError, ShapeError } from "../errors.ts";
import { doubles, roundAll, type Value } from "../interpreter/value.ts";
import type { Dim } from "../ir/dim.ts";
import { dimsEqual } from "../ir/dim.ts";
import { type BlockDType, isBlock } from "../ir/dtype.ts";
import { type Attrs, dimsOf, type Node, tensorTypeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { tensorType, typeText } from "../ir/type.ts";
import { codesOf, dequantize, hasMinima } from "./blocks.ts";
import { add, build, cast, dot, expand, mul, reshape, sub } from "./build.ts";
import type { RareFamily } from "./define.ts";
import { addIndex, mulIndex } from "./indexing.ts";
import { load } from "./table.ts";

/** Elements that share a scale. */
export const BLOCK = 32;

/** @param codes   i8[rows, k]
 *  @param scales  f32[rows, k / 32]
 *  @param zeros   i32[rows, k / 32]; f32 beside minima
 *  @param w       [out, k] of a dtype of blocks
 *  @returns       f32[rows, out] */
export const blockDot = (codes: Node, scales: Node, zeros: Node, w: Node): Node =>
  build("blockDot", [codes, scales, zeros, w], {});

const zerosOf = (dtype: BlockDType): "f32" | "i32" => (hasMinima(dtype) ? "f32" : "i32");

const real = (x: Node): Node => cast(x, "f32");
const wide = (x: Node): Node => cast(x, "i32");
const product: Attrs["accumulate"] = { kind: "sum", product: true };
const summed = (value: Node, ...over: readonly Node[]): Node => {
  const ranges = over.filter((r) => r.op === "range");
  return ranges.length > 0 ? build("accumulate", [value, ...ranges], product) : value;
};

export const blockDots = {
  blockDot: {
    role: "contraction",
    fusion: "anchor",
    rereads: "casts",
    arity: 4,
    flops: 2,
    attrs: {},
    infer: ([codes, scales, zeros, w]) => {
      const [c, s, z, b] = [codes, scales, zeros, w].map((n) => tensorTypeOf(n as Node)) as [T, T, T, T];
      const [rows, k] = c.dims as [Dim, Dim];
      const blocks: readonly Dim[] = [rows, Number(k) / BLOCK];
      if (c.dtype !== "i8" || s.dtype !== "f32" || !isBlock(b.dtype) || z.dtype !== zerosOf(b.dtype))
        throw new DTypeError(
          `blockDot: expected i8 codes, f32 scales, i32 zeros (beside minima f32) and weights in blocks, got ${[c, s, z, b].map((t) => typeText(t)).join(", ")}`,
        );
      if (
        c.dims.length !== 2 ||
        b.dims.length !== 2 ||
        b.dims[1] !== k ||
        !dimsEqual(s.dims, blocks) ||
        !dimsEqual(z.dims, blocks)
      )
        throw new ShapeError(
          `blockDot: expected [rows, k], twice [rows, k / ${BLOCK}] and [out, k], got ${[c, s, z, b].map((t) => typeText(t)).join(", ")}`,
        );
      return tensorType("f32", [rows, b.dims[0] as Dim]);
    },
    vjp: () => {
      throw new ArgumentError("quantizedLinear: activations that are rounded to 8 bits have no gradient", {
        hint: 'multiply them as they are where gradients are taken: activations: "float"',
      });
    },
    batch: (_, { full, has, x, size }) => {
      const rows = (n: Node): Node => reshape(n, [Number(dimsOf(n)[0]) * Number(dimsOf(n)[1]), dimsOf(n)[2] as Dim]);
      if (has[3]) return decodedProduct(full(0), full(1), x(3));
      const [c, s, z] = [full(0), full(1), full(2)];
      const y = blockDot(rows(c), rows(s), rows(z), x(3));
      return reshape(y, [size, dimsOf(c)[1] as Dim, dimsOf(y)[1] as Dim]);
    },
    evaluate: (y, [codes, scales, , w], exact) => {
      const [c, s, v] = [codes, scales, w].map((value) => doubles(value as Value)) as [F, F, F];
      const [rows, columns] = dimsOf(y) as [number, number];
      const k = c.length / Math.max(rows, 1);
      const data = new Float64Array(rows * columns);
      for (let m = 0; m < rows; m++)
        for (let n = 0; n < columns; n++) {
          let total = 0;
          for (let at = 0; at < k; at++)
            total +=
              (c[m * k + at] as number) * (v[n * k + at] as number) * (s[Math.floor((m * k + at) / BLOCK)] as number);
          data[m * columns + n] = total;
        }
      return { dtype: "f32", dims: [rows, columns], data: roundAll("f32", data, exact) };
    },
    lower: function* (y, at, mask, newRange) {
      const [codes, scales, zeros, w] = y.src as [Node, Node, Node, Node];
      const [m, n] = at as [Node, Node];
      const weights = within(y.scope, () => codesOf(w));
      const [, count, parts] = dimsOf(weights.scales) as [Dim, number, number];
      const b = newRange(count, "reduce");
      const p = newRange(parts, "reduce");
      const k = newRange(BLOCK, "reduce");
      const group = addIndex(mulIndex(b, parts), p);
      const code = yield { node: weights.codes, at: [n, b, p, k], mask };
      const own = yield { node: codes, at: [m, addIndex(mulIndex(group, BLOCK), k)], mask };
      const zero = yield { node: zeros, at: [m, group], mask };
      const step = yield { node: weights.scales, at: [n, b, p], mask };
      const least = weights.minima && (yield { node: weights.minima, at: [n, b, p], mask });
      const size = yield { node: scales, at: [m, group], mask };
      const inner = summed(mul(wide(code), wide(own)), k);
      const terms = least
        ? add(mul(mul(real(inner), step), size), mul(zero, least))
        : mul(mul(real(sub(inner, zero)), step), size);
      return summed(terms, b, p);
    },
  },
} satisfies RareFamily<"blockDot">;

type T = ReturnType<typeof tensorTypeOf>;
type F = Float64Array;

/** The same with weights for each of a batch: of the decoded values. */
function decodedProduct(codes: Node, scales: Node, w: Node): Node {
  const dims = dimsOf(codes);
  const each = [...dims.slice(0, -1), Number(dims.at(-1)) / BLOCK, BLOCK];
  const sizes = expand(reshape(scales, [...dimsOf(scales), 1]), each);
  const x = reshape(mul(reshape(cast(codes, "f32"), each), sizes), dims);
  return dot(x, dequantize(w), { contract: [[2], [2]], batch: [[0], [0]] });
}

load(blockDots);
