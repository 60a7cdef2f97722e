/** Casts between dtypes, with the meaning of the op table: floats to integers towards zero, clamped, NaN to 0; integers
 *  wrap; to a 16-bit float once, to nearest even (`shorts.ts`). */

import { byteSize, type DType, dtypeOf, dtypes, type Node } from "sinan/south";
import {
  constant,
  type Lanes,
  laneWise,
  type Machine,
  narrow,
  scalarType,
  single,
  uniform,
  vector,
  widen,
  widenMask,
} from "./lanes.ts";
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
  const [type, result] = [scalarType(from), scalarType(to)];
  if (to === "bool") return g.op(`${type}.ne`, [x, constant(g, from, 0)]);
  const sign = signOf(from);
  if (result === "f32" || result === "f64") {
    if (type === "f32" || type === "f64") return g.op(result === "f32" ? "f32.demote_f64" : "f64.promote_f32", [x]);
    return g.op(`${result}.convert_${type}_${sign}`, [x]);
  }
  if (type === "f32" || type === "f64") return bounded(g, to, g.op(`${result}.trunc_sat_${type}_${signOf(to)}`, [x]));
  if (type === result) return lastDigits(g, to, x);
  return result === "i64" ? g.op(`i64.extend_i32_${sign}`, [x]) : lastDigits(g, to, g.op("i32.wrap_i64", [x]));
}

const signOf = (dtype: DType): "s" | "u" => (dtypes[dtype].kind === "int" ? "s" : "u");

/** 32 bits brought into the range of a narrower integer, from its ends. */
function bounded(g: ValueGraph, to: DType, x: Value): Value {
  const { bits } = dtypes[to];
  if (bits >= 32) return x;
  const signed = signOf(to) === "s";
  const most = g.i32(2 ** (signed ? bits - 1 : bits) - 1);
  const capped = g.select(x, most, g.op(signed ? "i32.lt_s" : "i32.lt_u", [x, most]));
  if (!signed) return capped;
  const least = g.i32(-(2 ** (bits - 1)));
  return g.select(capped, least, g.op("i32.gt_s", [capped, least]));
}

/** The last digits of 32 bits. */
function lastDigits(g: ValueGraph, to: DType, x: Value): Value {
  const { bits } = dtypes[to];
  if (bits >= 32) return x;
  if (signOf(to) === "u") return g.op("i32.and", [x, g.i32(2 ** bits - 1)]);
  return g.op(bits === 8 ? "i32.extend8_s" : "i32.extend16_s", [x]);
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
  const made = (all: readonly Value[]): Lanes => vector(to, all);
  const and = (all: readonly Value[], mask: Value): Lanes => made(all.map((p) => g.op("v128.and", [p, mask])));
  const zeros = repeated(g, 0);
  const [sign, target] = [signOf(from), signOf(to)];
  switch (`${classOf(from)} ${classOf(to)}`) {
    case "bool int":
      return and(parts, repeated(g, 1));
    case "bool f32":
      return and(parts, repeated(g, 0x3f80_0000));
    case "bool f64":
      return and(widenMask(machine, parts), g.i64x2([0x3ff0_0000_0000_0000n, 0x3ff0_0000_0000_0000n]));
    case "int int":
      return each(x, to, (p) => wrapped(g, to, p));
    case "int bool":
      return each(x, to, (p) => g.op("i32x4.ne", [p, zeros]));
    case "int f32":
      return each(x, to, (p) => g.op(`f32x4.convert_i32x4_${sign}`, [p]));
    case "int f64":
      return made(widen(machine, parts, (p) => g.op(`f64x2.convert_low_i32x4_${sign}`, [p])));
    case "f32 bool":
      return each(x, to, (p) => g.op("f32x4.ne", [p, zeros]));
    case "f32 f64":
      return made(widen(machine, parts, (p) => g.op("f64x2.promote_low_f32x4", [p])));
    case "f64 f32":
      return made(narrow(machine, parts, (p) => g.op("f32x4.demote_f64x2_zero", [p])));
    case "f32 int":
      return each(x, to, (p) => clamped(g, to, g.op(`i32x4.trunc_sat_f32x4_${target}`, [p])));
    case "f64 int": {
      const words = narrow(machine, parts, (p) => g.op(`i32x4.trunc_sat_f64x2_${target}_zero`, [p]));
      return made(words.map((p) => clamped(g, to, p)));
    }
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
    if (x.vector) return each(x, to, (p) => wrapped(g, bits, p));
    return uniform(to, castValue(g, single(x), "u32", bits));
  }
  if (x.vector) return vector(to, x.parts);
  const v = single(x);
  const [type, result] = [scalarType(from), scalarType(to)];
  if (type === result) return uniform(to, v);
  if (type === "f64" || result === "f64")
    return uniform(to, g.op(type === "f64" ? "i64.reinterpret_f64" : "f64.reinterpret_i64", [v]));
  return uniform(to, type === "f32" ? bitsOf(g, v) : floatOf(g, v));
}
