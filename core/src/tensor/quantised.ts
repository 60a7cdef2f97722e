/** Weights in blocks of few bits, in ggml's layouts: q8_0 and q4_0 have a scale for each 32 weights, q4_k a scale and a minimum of 6
 *  bits each for 32 of 256. Functions, not methods, so that a bundle without them has nothing of them. */
import { DTypeError, ShapeError } from "../errors.ts";
import { type BlockDType, dtypes, isBlock } from "../ir/dtype.ts";
import { located } from "../ir/site.ts";
import { typeText } from "../ir/type.ts";
import * as ops from "../ops/blocks.ts";
import {
  abs,
  add,
  and,
  bitcast,
  cast,
  div,
  equal,
  floor,
  maximum,
  minimum,
  mul,
  neg,
  or,
  round,
  shiftLeft,
  shiftRight,
  stopGradient,
  sub,
  where,
} from "./arithmetic.ts";
import { iota } from "./create.ts";
import { floatNode, result } from "./operand.ts";
import { max, min } from "./reduce.ts";
import { concat, slice } from "./shape.ts";
import type { Tensor } from "./tensor.ts";

export type { BlockDType } from "../ir/dtype.ts";

/** The f32 values of a tensor of blocks. In a product with it they are computed as the kernel needs them and never stored.
 *
 *  @param w  [..., n] of a block dtype, of which n is a multiple of the block
 *  @returns  f32[..., n]; no gradient flows to w
 *  @throws DTypeError for any other dtype; ShapeError if the last axis does not hold whole blocks
 *  @example await dequantize(quantize(full([32], 127), "q8_0")).sum().item()   // → 4064 */
export const dequantize = (w: Tensor): Tensor => result(() => ops.dequantize(w.node));

/** The weights in blocks, each rounded to the nearest value that its block has. q8_0 and q4_0 give ggml's bytes; q4_k has ggml's
 *  layout with scales from the extremes of each part, where ggml searches.
 *
 *  @param x  [..., n], any float dtype, n a multiple of the block; infinities and NaN are not kept
 *  @throws DTypeError for a dtype that is not one of blocks; ShapeError unless n holds whole blocks
 *  @see ggml-quants.c, quantize_row_q8_0_ref and quantize_row_q4_0_ref */
export const quantize = (x: Tensor, dtype: BlockDType): Tensor => {
  const n = located(() => blocksOf(x, dtype));
  const rows = cast(
    result(() => floatNode("quantize", x)),
    "f32",
  ).reshape([-1, n, dtypes[dtype].block]);
  const packed = { q8_0: bytes8, q4_0: bytes4, q4_k: bytesK }[dtype](rows);
  return result(() => ops.blocks(packed.reshape([...x.shape.slice(0, -1), n * dtypes[dtype].bytes]).node, dtype));
};

/** Blocks of a row. */
function blocksOf(x: Tensor, dtype: BlockDType): number {
  if (!isBlock(dtype))
    throw new DTypeError(`quantize: expected a dtype of blocks, got ${JSON.stringify(dtype)}`, {
      hint: "cast changes between the others",
    });
  const { block } = dtypes[dtype];
  const last = x.shape.at(-1);
  if (last === undefined || last % block !== 0)
    throw new ShapeError(`quantize: the last axis of ${typeText(x.type)} does not hold whole blocks of ${block}`);
  return last / block;
}

/** What training for quantised weights computes with: the values of `quantize(x)`, and for the gradient x itself.
 *  @see Bengio et al. 2013, arXiv:1308.3432, the straight-through estimator */
export const fakeQuantize = (x: Tensor, dtype: BlockDType): Tensor =>
  add(x, stopGradient(sub(dequantize(quantize(stopGradient(x), dtype)), x)));

/** The two bytes of f16 values, low one first: [..., 1] gives [..., 2]. */
function half(d: Tensor): Tensor {
  const bits = cast(bitcast(cast(d, "f16"), "u16"), "i32");
  return cast(concat([and(bits, 255), shiftRight(bits, 8)], -1), "u8");
}

const last = { keepDims: true } as const;
const inverse = (d: Tensor): Tensor => where(equal(d, 0), 0, div(1, where(equal(d, 0), 1, d)));

/** Half away from zero, as C's roundf. */
const roundAway = (x: Tensor): Tensor => {
  const size = abs(x);
  const whole = floor(size);
  const up = add(whole, where(sub(size, whole).less(0.5), 0, 1));
  return where(x.less(0), neg(up), up);
};

/** Codes of 8 bits of rows [..., 32], i8, and the scale of each before it is rounded to f16: [..., 1]. */
function rounded8(x: Tensor): { readonly codes: Tensor; readonly d: Tensor } {
  const d = div(max(abs(x), -1, last), 127);
  return { codes: cast(roundAway(mul(x, inverse(d))), "i8"), d };
}

function bytes8(x: Tensor): Tensor {
  const { codes, d } = rounded8(x);
  return concat([half(d), bitcast(codes, "u8")], -1);
}

/** What q8_0 keeps of rows [..., 32] of f32: codes, i8, and scales [..., 1] of f32. */
export function codes8(x: Tensor): { readonly codes: Tensor; readonly scales: Tensor } {
  const { codes, d } = rounded8(x);
  return { codes, scales: cast(cast(d, "f16"), "f32") };
}

/** Nibbles [..., 2, length] side by side: the first of each two low. */
const nibbles = (q: Tensor): Tensor => {
  const low = q.narrow(-2, 0, 1);
  const high = q.narrow(-2, 1, 1);
  return or(low, shiftLeft(high, 4)).squeeze(-2);
};

function bytes4(x: Tensor): Tensor {
  // The first of the values that are largest in size, with its sign.
  const size = abs(x);
  const position = iota(x.shape, x.rank - 1);
  const first = min(where(equal(size, max(size, -1, last)), position, x.shape.at(-1) ?? 0), -1, last);
  const extreme = max(where(equal(position, first), x, Number.NEGATIVE_INFINITY), -1, last);
  const d = div(extreme, -8);
  const q = cast(minimum(floor(add(mul(x, inverse(d)), 8.5)), 15), "u8");
  const [rows, n] = x.shape as readonly [number, number];
  return concat([half(d), nibbles(q.reshape([rows, n, 2, 16]))], -1);
}

function bytesK(x: Tensor): Tensor {
  const [rows, n] = x.shape as readonly [number, number];
  const parts = x.reshape([rows, n, 8, 32]);
  const least = minimum(min(parts, -1), 0);
  const scale = div(sub(maximum(max(parts, -1), 0), least), 15);
  const six = (values: Tensor): { readonly d: Tensor; readonly q: Tensor } => {
    const d = cast(div(max(values, -1, last), 63), "f16");
    const exact = cast(d, "f32");
    return { d: exact, q: minimum(round(mul(values, inverse(exact))), 63) };
  };
  const [s, m] = [six(scale), six(neg(least))];
  const [step, shift] = [mul(s.d, s.q).expandDims(-1), mul(m.d, m.q).expandDims(-1)];
  const q = minimum(maximum(round(mul(add(parts, shift), inverse(step))), 0), 15);
  const [sq, mq] = [cast(s.q, "u8"), cast(m.q, "u8")];
  const first = (v: Tensor): Tensor => v.at(slice(), slice(), slice(0, 4));
  const second = (v: Tensor): Tensor => v.at(slice(), slice(), slice(4, 8));
  const whole = (v: Tensor): Tensor => or(first(v), shiftLeft(shiftRight(second(v), 4), 6));
  const low = or(and(second(sq), 15), shiftLeft(second(mq), 4));
  const packed = nibbles(cast(q, "u8").reshape([rows, n, 4, 2, 32])).reshape([rows, n, 128]);
  return concat([half(s.d), half(m.d), whole(sq), whole(mq), low, packed], -1);
}
