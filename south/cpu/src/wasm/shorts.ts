/** 16-bit floats: their casts and roundings as arithmetic on bits. The patterns follow Giesen 2012, "Half to float done quick". */

import { byteSize, type DType } from "sinan/south";
import { bitsOf, castLanes, castValue, each, floatOf, isShort } from "./convert.ts";
import { type Lanes, type Machine, single, uniform } from "./lanes.ts";
import type { Value, ValueGraph } from "./value.ts";

type Short = "f16" | "bf16";

/** 32-bit operations that one value and four lanes have alike, so that a bit pattern is written once. */
interface Bits {
  constant(bits: number): Value;
  and(a: Value, b: Value): Value;
  or(a: Value, b: Value): Value;
  add(a: Value, b: Value): Value;
  sub(a: Value, b: Value): Value;
  shl(a: Value, by: number): Value;
  shr(a: Value, by: number): Value;
  /** For values from 0 to 2³¹ − 1. */
  less(a: Value, b: Value): Value;
  choose(condition: Value, yes: Value, no: Value): Value;
  /** The sum or difference of the floats that have these bits. */
  floatAdd(a: Value, b: Value): Value;
  floatSub(a: Value, b: Value): Value;
}

const scalarBits = (g: ValueGraph): Bits => ({
  constant: (bits) => g.i32(bits),
  and: (a, b) => g.op("i32.and", [a, b]),
  or: (a, b) => g.op("i32.or", [a, b]),
  add: (a, b) => g.op("i32.add", [a, b]),
  sub: (a, b) => g.op("i32.sub", [a, b]),
  shl: (a, by) => g.op("i32.shl", [a, g.i32(by)]),
  shr: (a, by) => g.op("i32.shr_u", [a, g.i32(by)]),
  less: (a, b) => g.op("i32.lt_s", [a, b]),
  choose: (condition, yes, no) => g.select(yes, no, condition),
  floatAdd: (a, b) => bitsOf(g, g.op("f32.add", [floatOf(g, a), floatOf(g, b)])),
  floatSub: (a, b) => bitsOf(g, g.op("f32.sub", [floatOf(g, a), floatOf(g, b)])),
});

const vectorBits = (g: ValueGraph): Bits => ({
  constant: (bits) => g.i32x4([bits, bits, bits, bits]),
  and: (a, b) => g.op("v128.and", [a, b]),
  or: (a, b) => g.op("v128.or", [a, b]),
  add: (a, b) => g.op("i32x4.add", [a, b]),
  sub: (a, b) => g.op("i32x4.sub", [a, b]),
  shl: (a, by) => g.op("i32x4.shl", [a, g.i32(by)]),
  shr: (a, by) => g.op("i32x4.shr_u", [a, g.i32(by)]),
  less: (a, b) => g.op("i32x4.lt_s", [a, b]),
  choose: (condition, yes, no) => g.op("v128.bitselect", [yes, no, condition]),
  floatAdd: (a, b) => g.op("f32x4.add", [a, b]),
  floatSub: (a, b) => g.op("f32x4.sub", [a, b]),
});

/** f16 bits to f32 bits. */
function decodeHalf(b: Bits, half: Value): Value {
  const magnitude = b.shl(b.and(half, b.constant(0x7fff)), 13);
  const rebias = b.constant((127 - 15) << 23);
  const normal = b.add(magnitude, rebias);
  const special = b.less(b.constant(0x0f7f_ffff), magnitude);
  const exponent = b.choose(special, b.add(normal, rebias), normal);
  // A subnormal becomes the mantissa of a number in [2⁻¹⁴, 2⁻¹³), from which 2⁻¹⁴ is taken.
  const offset = b.constant(113 << 23);
  const subnormal = b.floatSub(b.or(magnitude, offset), offset);
  const positive = b.choose(b.less(magnitude, b.constant(1 << 23)), subnormal, exponent);
  return b.or(positive, b.shl(b.and(half, b.constant(0x8000)), 16));
}

/** f32 bits to f16 bits. */
function encodeHalf(b: Bits, float: Value): Value {
  const magnitude = b.and(float, b.constant(0x7fff_ffff));
  const half = b.constant(0x3f00_0000);
  // Adding ½ puts the subnormal's last place at the end of the mantissa, and rounds there.
  const subnormal = b.sub(b.floatAdd(magnitude, half), half);
  const odd = b.and(b.shr(magnitude, 13), b.constant(1));
  const rounded = b.shr(b.add(b.add(magnitude, b.constant((-112 << 23) + 0xfff)), odd), 13);
  const finite = b.choose(b.less(magnitude, b.constant(113 << 23)), subnormal, rounded);
  const bounded = b.choose(b.less(b.constant(0x477f_ffff), magnitude), b.constant(0x7c00), finite);
  const signed = b.or(bounded, b.and(b.shr(float, 16), b.constant(0x8000)));
  return b.choose(b.less(b.constant(0x7f80_0000), magnitude), b.constant(0x7e00), signed);
}

/** f32 bits to bf16 bits. */
function encodeBrain(b: Bits, float: Value): Value {
  const magnitude = b.and(float, b.constant(0x7fff_ffff));
  const odd = b.and(b.shr(float, 16), b.constant(1));
  const rounded = b.shr(b.add(b.add(float, b.constant(0x7fff)), odd), 16);
  return b.choose(b.less(b.constant(0x7f80_0000), magnitude), b.constant(0x7fc0), rounded);
}

const infinity = 0x7f80_0000;

/** f32 bits of what `encodeHalf` and `decodeHalf` would make of f32 bits, which are not packed for it. */
function roundHalf(b: Bits, float: Value): Value {
  const magnitude = b.and(float, b.constant(0x7fff_ffff));
  const half = b.constant(0x3f00_0000);
  const subnormal = b.floatSub(b.floatAdd(magnitude, half), half);
  const odd = b.and(b.shr(magnitude, 13), b.constant(1));
  const normal = b.and(b.add(b.add(magnitude, b.constant(0xfff)), odd), b.constant(-0x2000));
  const finite = b.choose(b.less(magnitude, b.constant(113 << 23)), subnormal, normal);
  const bounded = b.choose(b.less(b.constant(0x477f_ffff), finite), b.constant(infinity), finite);
  const signed = b.or(bounded, b.and(float, b.constant(1 << 31)));
  return b.choose(b.less(b.constant(infinity), magnitude), b.constant(0x7fc0_0000), signed);
}

function roundBrain(b: Bits, float: Value): Value {
  const odd = b.and(b.shr(float, 16), b.constant(1));
  const rounded = b.and(b.add(b.add(float, b.constant(0x7fff)), odd), b.constant(-0x10000));
  const magnitude = b.and(float, b.constant(0x7fff_ffff));
  return b.choose(b.less(b.constant(infinity), magnitude), b.constant(0x7fc0_0000), rounded);
}

/** f64 to f32 bits so that rounding those again rounds the double once: an inexact result gets an odd last place
 *  (Boldo & Melquiond 2008, "Emulation of FMA and correctly rounded sums"). */
function roundToOdd(g: ValueGraph, x: Value): Value {
  const nearest = g.op("f32.demote_f64", [x]);
  const back = g.op("f64.promote_f32", [nearest]);
  const bits = bitsOf(g, nearest);
  const away = g.op("f64.gt", [g.op("f64.abs", [back]), g.op("f64.abs", [x])]);
  const odd = g.op("i32.or", [g.op("i32.sub", [bits, away]), g.i32(1)]);
  const inexact = g.op("i32.or", [g.op("f64.lt", [back, x]), g.op("f64.gt", [back, x])]);
  return g.select(odd, bits, inexact);
}

const decode = (b: Bits, dtype: Short, bits: Value): Value => (dtype === "f16" ? decodeHalf(b, bits) : b.shl(bits, 16));
const encode = (b: Bits, dtype: Short, bits: Value): Value =>
  dtype === "f16" ? encodeHalf(b, bits) : encodeBrain(b, bits);

/** A value, of which one dtype or the other is a 16-bit float. */
export function castShort(g: ValueGraph, x: Value, from: DType, to: DType): Value {
  const bits = scalarBits(g);
  if (isShort(from)) return castValue(g, floatOf(g, decode(bits, from, x)), "f32", to);
  const into = to as Short;
  if (from === "f32") return encode(bits, into, bitsOf(g, x));
  if (byteSize(from, 1) <= 2) return castValue(g, castValue(g, x, from, "f32"), "f32", to);
  return encode(bits, into, roundToOdd(g, castValue(g, x, from, "f64")));
}

/** The same of parts; undefined where it is done lane by lane. */
export function castShortLanes(machine: Machine, x: Lanes, to: DType): Lanes | undefined {
  const { dtype: from } = x;
  const bits = vectorBits(machine.graph);
  if (isShort(from)) {
    const wide = each(x, "f32", (p) => decode(bits, from, p));
    return castLanes(machine, wide, to);
  }
  if (from === "f32") return each(x, to, (p) => encode(bits, to as Short, p));
  return byteSize(from, 1) <= 2 ? castLanes(machine, castLanes(machine, x, "f32"), to) : undefined;
}

export function roundLanes({ graph: g }: Machine, x: Lanes, dtype: Short): Lanes {
  const round = dtype === "f16" ? roundHalf : roundBrain;
  if (x.vector) return each(x, "f32", (p) => round(vectorBits(g), p));
  return uniform("f32", floatOf(g, round(scalarBits(g), bitsOf(g, single(x)))));
}
