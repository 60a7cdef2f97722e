/** Casts between dtypes, with the meaning of the op table: floats to integers towards zero, clamped, NaN to 0; integers
 *  wrap; to a 16-bit float once, to nearest even. The bit patterns follow Giesen 2012, "Half to float done quick". */

import { byteSize, type DType, isFloat } from "sinan/south";
import { type Lanes, laneWise, type Machine, narrow, single, uniform, vector, widen, widenMask } from "./lanes.ts";
import type { Value, ValueGraph } from "./value.ts";

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

const bitsOf = (g: ValueGraph, x: Value): Value => g.op("i32.reinterpret_f32", [x]);
const floatOf = (g: ValueGraph, x: Value): Value => g.op("f32.reinterpret_i32", [x]);

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

const decode = (b: Bits, dtype: "f16" | "bf16", bits: Value): Value =>
  dtype === "f16" ? decodeHalf(b, bits) : b.shl(bits, 16);
const encode = (b: Bits, dtype: "f16" | "bf16", bits: Value): Value =>
  dtype === "f16" ? encodeHalf(b, bits) : encodeBrain(b, bits);

const isShort = (dtype: DType): dtype is "f16" | "bf16" => dtype === "f16" || dtype === "bf16";

/** One value from a dtype to another. */
export function castValue(g: ValueGraph, x: Value, from: DType, to: DType): Value {
  if (from === to) return x;
  if (isShort(from)) return castValue(g, floatOf(g, decode(scalarBits(g), from, x)), "f32", to);
  if (isShort(to)) {
    if (from === "f32") return encode(scalarBits(g), to, bitsOf(g, x));
    if (from === "bool" || from === "u8") return castValue(g, castValue(g, x, from, "f32"), "f32", to);
    return encode(scalarBits(g), to, roundToOdd(g, castValue(g, x, from, "f64")));
  }
  switch (to) {
    case "bool":
      if (from === "f32") return g.op("f32.ne", [x, g.f32(0)]);
      if (from === "f64") return g.op("f64.ne", [x, g.f64(0)]);
      if (from === "i64") return g.op("i64.ne", [x, g.i64(0n)]);
      return g.op("i32.ne", [x, g.i32(0)]);
    case "f32":
      if (from === "f64") return g.op("f32.demote_f64", [x]);
      if (from === "i64") return g.op("f32.convert_i64_s", [x]);
      return g.op(from === "i32" ? "f32.convert_i32_s" : "f32.convert_i32_u", [x]);
    case "f64":
      if (from === "f32") return g.op("f64.promote_f32", [x]);
      if (from === "i64") return g.op("f64.convert_i64_s", [x]);
      return g.op(from === "i32" ? "f64.convert_i32_s" : "f64.convert_i32_u", [x]);
    case "i64":
      if (from === "f32") return g.op("i64.trunc_sat_f32_s", [x]);
      if (from === "f64") return g.op("i64.trunc_sat_f64_s", [x]);
      return g.op(from === "i32" ? "i64.extend_i32_s" : "i64.extend_i32_u", [x]);
    case "i32":
      if (from === "f32") return g.op("i32.trunc_sat_f32_s", [x]);
      if (from === "f64") return g.op("i32.trunc_sat_f64_s", [x]);
      return from === "i64" ? g.op("i32.wrap_i64", [x]) : x;
    case "u32":
      if (from === "f32") return g.op("i32.trunc_sat_f32_u", [x]);
      if (from === "f64") return g.op("i32.trunc_sat_f64_u", [x]);
      return from === "i64" ? g.op("i32.wrap_i64", [x]) : x;
    case "u8": {
      const whole = castValue(g, x, from, "u32");
      if (isFloat(from)) return g.select(whole, g.i32(255), g.op("i32.lt_u", [whole, g.i32(255)]));
      return from === "bool" ? whole : g.op("i32.and", [whole, g.i32(255)]);
    }
    default:
      return x;
  }
}

/** Lanes from a dtype to another. */
export function castLanes(machine: Machine, x: Lanes, to: DType): Lanes {
  const { dtype: from } = x;
  const g = machine.graph;
  if (from === to) return x;
  if (!x.vector) return uniform(to, castValue(g, single(x), from, to));
  const bits = vectorBits(g);
  if (isShort(from))
    return castLanes(
      machine,
      each(x, "f32", (p) => decode(bits, from, p)),
      to,
    );
  if (isShort(to)) {
    if (from === "f32") return each(x, to, (p) => encode(bits, to, p));
    if (from === "bool" || from === "u8") return castLanes(machine, castLanes(machine, x, "f32"), to);
  }
  return convertParts(machine, x, to) ?? laneWise(machine, to, [x], (v) => castValue(g, v, from, to));
}

const each = (x: Lanes, dtype: DType, part: (p: Value) => Value): Lanes => vector(dtype, x.parts.map(part));

/** The conversions that have instructions for whole parts. */
function convertParts(machine: Machine, x: Lanes, to: DType): Lanes | undefined {
  const g = machine.graph;
  const { dtype: from, parts } = x;
  const zeros = g.i32x4([0, 0, 0, 0]);
  const one = (bits: number) => g.i32x4([bits, bits, bits, bits]);
  const signed = from === "i32";
  switch (`${classOf(from)} ${classOf(to)}`) {
    case "bool int":
      return each(x, to, (p) => g.op("v128.and", [p, one(1)]));
    case "bool f32":
      return each(x, to, (p) => g.op("v128.and", [p, one(0x3f80_0000)]));
    case "bool f64": {
      const unit = g.i64x2([0x3ff0_0000_0000_0000n, 0x3ff0_0000_0000_0000n]);
      return vector(
        to,
        widenMask(machine, parts).map((p) => g.op("v128.and", [p, unit])),
      );
    }
    case "int int":
      return to === "u8" ? each(x, to, (p) => g.op("v128.and", [p, one(255)])) : vector(to, parts);
    case "int bool":
      return each(x, to, (p) => g.op("i32x4.ne", [p, zeros]));
    case "int f32":
      return each(x, to, (p) => g.op(signed ? "f32x4.convert_i32x4_s" : "f32x4.convert_i32x4_u", [p]));
    case "int f64":
      return vector(
        to,
        widen(machine, parts, (p) => g.op(signed ? "f64x2.convert_low_i32x4_s" : "f64x2.convert_low_i32x4_u", [p])),
      );
    case "f32 bool":
      return each(x, to, (p) => g.op("f32x4.ne", [p, zeros]));
    case "f32 f64":
      return vector(
        to,
        widen(machine, parts, (p) => g.op("f64x2.promote_low_f32x4", [p])),
      );
    case "f64 f32":
      return vector(
        to,
        narrow(machine, parts, (p) => g.op("f32x4.demote_f64x2_zero", [p])),
      );
    case "f32 int":
      return clampByte(
        g,
        to,
        parts.map((p) => g.op(to === "i32" ? "i32x4.trunc_sat_f32x4_s" : "i32x4.trunc_sat_f32x4_u", [p])),
      );
    case "f64 int":
      return clampByte(
        g,
        to,
        narrow(machine, parts, (p) =>
          g.op(to === "i32" ? "i32x4.trunc_sat_f64x2_s_zero" : "i32x4.trunc_sat_f64x2_u_zero", [p]),
        ),
      );
    default:
      return undefined;
  }
}

function clampByte(g: ValueGraph, to: DType, parts: readonly Value[]): Lanes {
  const top = g.i32x4([255, 255, 255, 255]);
  return vector(to, to === "u8" ? parts.map((p) => g.op("i32x4.min_u", [p, top])) : parts);
}

const classOf = (dtype: DType): string => (dtype === "i32" || dtype === "u32" || dtype === "u8" ? "int" : dtype);

/** The same bits under another dtype of the same size. */
export function bitcastLanes(machine: Machine, x: Lanes, to: DType): Lanes {
  const { dtype: from } = x;
  const g = machine.graph;
  if (byteSize(from, 1) === 1 && from !== to) return castLanes(machine, x, to);
  if (x.vector) return vector(to, x.parts);
  const v = single(x);
  const pair = `${from} ${to}`;
  if (pair === "f64 i64") return uniform(to, g.op("i64.reinterpret_f64", [v]));
  if (pair === "i64 f64") return uniform(to, g.op("f64.reinterpret_i64", [v]));
  if (from === "f32" && to !== "f32") return uniform(to, bitsOf(g, v));
  if (to === "f32" && from !== "f32") return uniform(to, floatOf(g, v));
  return uniform(to, v);
}
