/** Weights that are kept in blocks of ggml's layouts. A tensor of such a dtype has no values of its own: `dequantize` computes them
 *  from its bytes inside of the kernels that use them, `blocks` makes it of bytes, `bytes` are those again. A format is an
 *  expression of tensor ops over the bytes of one block, which lowering turns into arithmetic on indices.
 *
 *    dot(%x, dequantize(%w))     the product of f32 weights that are never stored
 */
import { DTypeError, ShapeError } from "../errors.ts";
import { decode, doubles, roundAll, type Value } from "../interpreter/value.ts";
import type { Dim } from "../ir/dim.ts";
import { type BlockDType, byteDims, type DType, dtypes, isBlock } from "../ir/dtype.ts";
import { dimsOf, type Node, tensorTypeOf } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { tensorType, typeText } from "../ir/type.ts";
import { makeNest } from "../kernel/nests.ts";
import { flattenIndex, knownDims } from "./indexing.ts";
import {
  and,
  bitcast,
  build,
  cast,
  constantLike,
  eq,
  expand,
  iota,
  mul,
  or,
  reshape,
  shl,
  shr,
  slice,
  sub,
  where,
  xor,
} from "./build.ts";
import type { RareFamily } from "./define.ts";
import { load } from "./table.ts";

export const dequantize = (w: Node): Node => build("dequantize", [w], {});
export const bytes = (w: Node): Node => build("bytes", [w], {});
export const blocks = (x: Node, dtype: DType): Node => build("blocks", [x], { dtype });

/** @throws DTypeError unless x is a tensor of blocks; ShapeError unless its last axis holds whole ones */
function requireBlocks(op: string, x: Node): BlockDType {
  const { dtype, dims } = tensorTypeOf(x);
  if (!isBlock(dtype)) throw new DTypeError(`${op}: expected a tensor of blocks, got ${typeText(x.type)}`);
  const last = dims.at(-1);
  if (typeof last !== "number" || last % dtypes[dtype].block !== 0)
    throw new ShapeError(`${op}: the last axis of ${typeText(x.type)} holds blocks of ${dtypes[dtype].block} elements`);
  return dtype;
}

const part = (x: Node, from: number, size: number): Node => {
  const dims = dimsOf(x);
  return slice(x, [...dims.slice(0, -1).map(() => 0), from], [...dims.slice(0, -1), size]);
};
const number = (x: Node, value: number): Node => constantLike(x, value);
const masked = (x: Node, mask: number): Node => and(x, number(x, mask));
const down = (x: Node, by: number): Node => shr(x, number(x, by));
const up = (x: Node, by: number): Node => shl(x, number(x, by));
const real = (x: Node): Node => cast(x, "f32");

/** The f16 of two bytes, low one first, as f32. */
function half(b: Node, at: number): Node {
  const [low, high] = [cast(part(b, at, 1), "i32"), cast(part(b, at + 1, 1), "i32")];
  return real(bitcast(cast(or(low, up(high, 8)), "u16"), "f16"));
}

/** The two halves of each of `count` runs of bytes: all low nibbles of a run, then all high ones. */
function nibbles(b: Node, at: number, count: number, length: number): Node {
  const [rows, n] = dimsOf(b) as readonly [Dim, Dim];
  const runs = reshape(part(b, at, count * length), [rows, n, count, 1, length]);
  const both = expand(runs, [rows, n, count, 2, length]);
  const by = up(iota("u8", dimsOf(both), 3), 2);
  return reshape(masked(shr(both, by), 15), [rows, n, count * 2, length]);
}

const flat = (x: Node): Node => {
  const [rows, n, ...rest] = dimsOf(x) as readonly number[] as readonly [number, number, ...number[]];
  return reshape(x, [rows, n, rest.reduce((c, d) => c * d, 1)]);
};
const scaled = (scale: Node, x: Node): Node => mul(expand(scale, dimsOf(x)), x);

/** From u8[rows, blocks, bytes] to f32[rows, blocks, elements]. Source: ggml-common.h, and gguf's quants.py. */
const formats: { readonly [D in BlockDType]: (b: Node) => Node } = {
  q8_0: (b) => scaled(half(b, 0), real(bitcast(part(b, 2, 32), "i8"))),
  q4_0: (b) => {
    const q = real(flat(nibbles(b, 2, 1, 16)));
    return scaled(half(b, 0), sub(q, number(q, 8)));
  },
  q4_k: (b) => {
    const [scales, minima] = partsOf4(b);
    const q = real(nibbles(b, 16, 4, 32));
    const each = (x: Node): Node => expand(reshape(x, [...dimsOf(x), 1]), dimsOf(q));
    return flat(sub(mul(each(scales), q), each(minima)));
  },
};

/** Scales and minima [rows, blocks, 8] of q4_k: 6 bits each, of which four are whole, with the upper bits of the other four on top. */
function partsOf4(b: Node): readonly [Node, Node] {
  const [rows, n] = dimsOf(b) as readonly [Dim, Dim];
  const twice = (at: number): Node => expand(reshape(part(b, at, 4), [rows, n, 1, 4]), [rows, n, 2, 4]);
  const [a, m, low] = [twice(4), twice(8), twice(12)];
  const isWhole = eq(iota("u8", dimsOf(low), 2), number(low, 0));
  const six = (x: Node, rest: Node, scale: Node): Node =>
    scaled(scale, real(reshape(where(isWhole, masked(x, 63), or(rest, masked(down(x, 2), 0x30))), [rows, n, 8])));
  return [six(a, masked(low, 15), half(b, 0)), six(m, down(low, 4), half(b, 2))];
}

/** The code, without a sign, that stands for 0, of formats whose codes have no minimum instead. */
export const zeroPoints: { readonly [D in Exclude<BlockDType, "q4_k">]: number } = { q8_0: 128, q4_0: 8 };
export const hasMinima = (dtype: BlockDType): dtype is "q4_k" => dtype === "q4_k";

/** Of weights in blocks the codes u8[rows, blocks, parts, elements] and what f32[rows, blocks, parts] makes numbers of them: the values are
 *  (code − zero point) · scale, of which those of q4_k have a minimum taken off. */
export interface Codes {
  readonly codes: Node;
  readonly scales: Node;
  readonly minima?: Node;
}

export function codesOf(w: Node): Codes {
  const dtype = requireBlocks("codesOf", w);
  const b = byBlocks(w, dtype);
  const [rows, n] = dimsOf(b) as readonly [Dim, Dim];
  if (hasMinima(dtype)) {
    const [scales, minima] = partsOf4(b);
    return { codes: reshape(nibbles(b, 16, 4, 32), [rows, n, 8, 32]), scales, minima };
  }
  const codes = dtype === "q8_0" ? xor(part(b, 2, 32), number(part(b, 2, 32), 128)) : nibbles(b, 2, 1, 16);
  return { codes: reshape(codes, [rows, n, 1, 32]), scales: half(b, 0) };
}

/** The bytes as u8[rows, blocks, bytes]. */
function byBlocks(w: Node, dtype: BlockDType): Node {
  const dims = knownDims(w);
  const { block, bytes: size } = dtypes[dtype];
  const count = dims.reduce((c, d) => c * d, 1);
  const n = (dims.at(-1) as number) / block;
  return reshape(bytes(w), [n === 0 ? 0 : count / block / n, n, size]);
}

/** The values as an expression of the bytes. */
function decoded(w: Node): Node {
  const dtype = requireBlocks("dequantize", w);
  return reshape(formats[dtype](byBlocks(w, dtype)), knownDims(w));
}

export const blockOps = {
  dequantize: {
    role: "storage",
    arity: 1,
    // It rides along like a cast: computed where it is used, however often, and never stored.
    flops: 1,
    attrs: {},
    infer: ([w]) => {
      requireBlocks("dequantize", w as Node);
      return tensorType("f32", dimsOf(w as Node));
    },
    batch: (_, { x }) => dequantize(x()),
    evaluate: (_, [w], exact) => {
      const { data, dims } = w as Value;
      return { dtype: "f32", dims, data: roundAll("f32", doubles({ dtype: "f32", dims, data: data.slice() }), exact) };
    },
    lower: function* (y, at, mask) {
      // Beside the node, where its source lives.
      return yield { node: within(y.scope, () => decoded(y.src[0] as Node)), at, mask };
    },
  },
  bytes: {
    role: "storage",
    arity: 1,
    flops: 0,
    attrs: {},
    infer: ([w]) => tensorType("u8", byteDims(requireBlocks("bytes", w as Node), knownDims(w as Node))),
    batch: (_, { x }) => bytes(x()),
    evaluate: (y, [w]) => {
      const { bytes: held, dims, dtype } = w as Value;
      if (!held) throw new DTypeError(`bytes: the blocks of ${typeText((y.src[0] as Node).type)} have been moved`);
      return { dtype: "u8", dims: byteDims(dtype, dims), data: Float64Array.from(held) };
    },
    // Lowering keeps a tensor of blocks as its bytes, and so names its elements by theirs.
    lower: function* (y, at, mask) {
      return yield { node: y.src[0] as Node, at, mask };
    },
  },
  blocks: {
    role: "indexed",
    fusion: "sink",
    arity: 1,
    flops: 0,
    attrs: { dtype: "dtype" },
    infer: ([x], { dtype }) => {
      const type = tensorTypeOf(x as Node);
      const last = type.dims.at(-1);
      const { block, bytes: size } = dtypes[dtype];
      if (type.dtype !== "u8" || !isBlock(dtype))
        throw new DTypeError(`blocks: expected u8 bytes for a dtype of blocks, got ${typeText(type)} for ${dtype}`);
      if (typeof last !== "number" || last % size !== 0)
        throw new ShapeError(`blocks: ${typeText(type)} does not hold whole blocks of ${size} bytes`);
      return tensorType(dtype, [...type.dims.slice(0, -1), (last / size) * block]);
    },
    batch: (y, { x }) => blocks(x(), y.attr.dtype),
    evaluate: (y, [x]) => decode(y.attr.dtype, Uint8Array.from(doubles(x as Value)), knownDims(y)),
    lowerNests: (y, { out, newRange, valueAt }) => {
      const x = y.src[0] as Node;
      const dims = knownDims(x);
      const at = dims.map((d) => newRange(d, "loop"));
      const ids = at.flatMap((r) => (r.op === "range" ? [r.attr.id] : []));
      return [makeNest([build("store", [out, flattenIndex(at, dims), valueAt(x, at)], {})], ids)];
    },
  },
} satisfies RareFamily<"dequantize" | "bytes" | "blocks">;

load(blockOps);
