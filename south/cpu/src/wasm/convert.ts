/** Casts between dtypes, with the meaning of the op table: floats to integers towards zero, clamped, NaN to 0; integers
 *  wrap; to a 16-bit float once, to nearest even (`shorts.ts`). */

import { byteSize, type DType, dtypeOf, dtypes, isFloat, type Node } from "sinan/south";
import { type Lanes, laneWise, type Machine, narrow, single, uniform, vector, widen, widenMask } from "./lanes.ts";
import { rulesOf } from "./rules.ts";
import type { Value, ValueGraph } from "./value.ts";

export const bitsOf = (g: ValueGraph, x: Value): Value => g.op("i32.reinterpret_f32", [x]);
export const floatOf = (g: ValueGraph, x: Value): Value => g.op("f32.reinterpret_i32", [x]);

export const isShort = (dtype: DType): dtype is "f16" | "bf16" => dtype === "f16" || dtype === "bf16";

/** One value from a dtype to another. */
export function castValue(g: ValueGraph, x: Value, from: DType, to: DType): Value {
  if (from === to) return x;
  const short = isShort(from) ? from : isShort(to) ? to : undefined;
  if (short) return rulesOf(short).castValue(g, x, from, to);
  const sign = dtypes[from].kind === "int" ? "s" : "u";
  switch (to) {
    case "bool":
      if (from === "f32") return g.op("f32.ne", [x, g.f32(0)]);
      if (from === "f64") return g.op("f64.ne", [x, g.f64(0)]);
      if (from === "i64") return g.op("i64.ne", [x, g.i64(0n)]);
      return g.op("i32.ne", [x, g.i32(0)]);
    case "f32":
      if (from === "f64") return g.op("f32.demote_f64", [x]);
      if (from === "i64") return g.op("f32.convert_i64_s", [x]);
      return g.op(`f32.convert_i32_${sign}`, [x]);
    case "f64":
      if (from === "f32") return g.op("f64.promote_f32", [x]);
      if (from === "i64") return g.op("f64.convert_i64_s", [x]);
      return g.op(`f64.convert_i32_${sign}`, [x]);
    case "i64":
      if (from === "f32") return g.op("i64.trunc_sat_f32_s", [x]);
      if (from === "f64") return g.op("i64.trunc_sat_f64_s", [x]);
      return g.op(`i64.extend_i32_${sign}`, [x]);
    case "i32":
      if (from === "f32") return g.op("i32.trunc_sat_f32_s", [x]);
      if (from === "f64") return g.op("i32.trunc_sat_f64_s", [x]);
      return from === "i64" ? g.op("i32.wrap_i64", [x]) : x;
    case "u32":
      if (from === "f32") return g.op("i32.trunc_sat_f32_u", [x]);
      if (from === "f64") return g.op("i32.trunc_sat_f64_u", [x]);
      return from === "i64" ? g.op("i32.wrap_i64", [x]) : x;
    case "u8":
    case "u16": {
      const whole = castValue(g, x, from, "u32");
      const most = g.i32(to === "u8" ? 0xff : 0xffff);
      return isFloat(from) ? g.select(whole, most, g.op("i32.lt_u", [whole, most])) : g.op("i32.and", [whole, most]);
    }
    case "i8":
    case "i16": {
      const whole = castValue(g, x, from, "i32");
      if (!isFloat(from)) return g.op(to === "i8" ? "i32.extend8_s" : "i32.extend16_s", [whole]);
      const [least, most] = (to === "i8" ? [-128, 127] : [-32768, 32767]).map((bound) => g.i32(bound)) as [
        Value,
        Value,
      ];
      const capped = g.select(whole, most, g.op("i32.lt_s", [whole, most]));
      return g.select(capped, least, g.op("i32.gt_s", [capped, least]));
    }
    default:
      return x;
  }
}

/** The f32 that a node rounds to a 16-bit float, where that is all it does: a cast there and back. */
export function roundedBy(n: Node): { readonly x: Node; readonly dtype: "f16" | "bf16" } | undefined {
  const inner = n.src[0];
  if (n.op !== "cast" || n.attr.dtype !== "f32" || inner?.op !== "cast") return undefined;
  const { dtype } = inner.attr;
  const x = inner.src[0] as Node;
  return isShort(dtype) && dtypeOf(x) === "f32" ? { x, dtype } : undefined;
}

/** Lanes from a dtype to another. */
export function castLanes(machine: Machine, x: Lanes, to: DType): Lanes {
  const { dtype: from } = x;
  const g = machine.graph;
  if (from === to) return x;
  if (!x.vector) return uniform(to, castValue(g, single(x), from, to));
  const short = isShort(from) ? from : isShort(to) ? to : undefined;
  const made = short && rulesOf(short).castLanes(machine, x, to);
  return made ?? convertParts(machine, x, to) ?? laneWise(machine, to, [x], (v) => castValue(g, v, from, to));
}

export const each = (x: Lanes, dtype: DType, part: (p: Value) => Value): Lanes => vector(dtype, x.parts.map(part));

/** The conversions that have instructions for whole parts. */
function convertParts(machine: Machine, x: Lanes, to: DType): Lanes | undefined {
  const g = machine.graph;
  const { dtype: from, parts } = x;
  const zeros = g.i32x4([0, 0, 0, 0]);
  const one = (bits: number) => repeated(g, bits);
  const sign = dtypes[from].kind === "int" ? "s" : "u";
  const target = dtypes[to].kind === "int" ? "s" : "u";
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
      return vector(
        to,
        parts.map((p) => wrapped(g, to, p)),
      );
    case "int bool":
      return each(x, to, (p) => g.op("i32x4.ne", [p, zeros]));
    case "int f32":
      return each(x, to, (p) => g.op(`f32x4.convert_i32x4_${sign}`, [p]));
    case "int f64":
      return vector(
        to,
        widen(machine, parts, (p) => g.op(`f64x2.convert_low_i32x4_${sign}`, [p])),
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
      return each(x, to, (p) => clamped(g, to, g.op(`i32x4.trunc_sat_f32x4_${target}`, [p])));
    case "f64 int":
      return vector(
        to,
        narrow(machine, parts, (p) => g.op(`i32x4.trunc_sat_f64x2_${target}_zero`, [p])).map((p) => clamped(g, to, p)),
      );
    default:
      return undefined;
  }
}

const repeated = (g: ValueGraph, value: number): Value => g.i32x4([value, value, value, value]);

/** 32-bit lanes brought into the range of a narrower integer, from its ends. */
function clamped(g: ValueGraph, to: DType, part: Value): Value {
  const { kind, bits } = dtypes[to];
  if (bits === 32) return part;
  if (kind === "uint") return g.op("i32x4.min_u", [part, repeated(g, 2 ** bits - 1)]);
  const capped = g.op("i32x4.min_s", [part, repeated(g, 2 ** (bits - 1) - 1)]);
  return g.op("i32x4.max_s", [capped, repeated(g, -(2 ** (bits - 1)))]);
}

/** The last digits of 32-bit lanes. */
function wrapped(g: ValueGraph, to: DType, part: Value): Value {
  const { kind, bits } = dtypes[to];
  if (bits === 32) return part;
  if (kind === "uint") return g.op("v128.and", [part, repeated(g, 2 ** bits - 1)]);
  const up = g.op("i32x4.shl", [part, g.i32(32 - bits)]);
  return g.op("i32x4.shr_s", [up, g.i32(32 - bits)]);
}

const isWord = (dtype: DType): boolean =>
  dtypes[dtype].bits <= 32 && (dtypes[dtype].kind === "int" || dtypes[dtype].kind === "uint");
const classOf = (dtype: DType): string => (isWord(dtype) ? "int" : dtype);

/** The same bits under another dtype of the same size. */
export function bitcastLanes(machine: Machine, x: Lanes, to: DType): Lanes {
  const { dtype: from } = x;
  const g = machine.graph;
  if (byteSize(from, 1) === 1 && from !== to) return castLanes(machine, x, to);
  // Of 16 bits only i16 is kept with its sign.
  if (byteSize(from, 1) === 2 && from !== to) {
    const bits = to === "i16" ? "i16" : "u16";
    if (x.vector)
      return vector(
        to,
        x.parts.map((p) => wrapped(g, bits, p)),
      );
    return uniform(to, castValue(g, single(x), "u32", bits));
  }
  if (x.vector) return vector(to, x.parts);
  const v = single(x);
  const pair = `${from} ${to}`;
  if (pair === "f64 i64") return uniform(to, g.op("i64.reinterpret_f64", [v]));
  if (pair === "i64 f64") return uniform(to, g.op("f64.reinterpret_i64", [v]));
  if (from === "f32" && to !== "f32") return uniform(to, bitsOf(g, v));
  if (to === "f32" && from !== "f32") return uniform(to, floatOf(g, v));
  return uniform(to, v);
}
