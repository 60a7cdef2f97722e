/** A scalar of the kernel as machine values: one value where all lanes agree, otherwise 128-bit parts that hold the lanes of
 *  the nest's vector range in order. Booleans are i32 0 or 1 as one value and masks of 32-bit lanes as parts; integers of 8 and
 *  16 bits are themselves in 32, f16 and bf16 their bits; i64 and f64 take 64. */

import type { DType } from "sinan/south";
import type { OpName } from "./opcodes.ts";
import type { Value, ValueGraph } from "./value.ts";

export interface Lanes {
  readonly dtype: DType;
  readonly vector: boolean;
  readonly parts: readonly Value[];
}

/** What code generation for one nest works with. */
export interface Machine {
  readonly graph: ValueGraph;
  /** The extent of the nest's vector range; 1 where it has none. */
  readonly width: number;
  /** Whether a multiply and an add in f32 or f64 may be one. */
  readonly fused: boolean;
}

export const isWide = (dtype: DType): boolean => dtype === "f64" || dtype === "i64";

/** Lanes in one part. */
export const lanesPerPart = (dtype: DType): number => (isWide(dtype) ? 2 : 4);

export const partCount = ({ width }: Machine, dtype: DType): number => Math.ceil(width / lanesPerPart(dtype));

export const scalarType = (dtype: DType): "i32" | "i64" | "f32" | "f64" =>
  dtype === "f32" || dtype === "f64" || dtype === "i64" ? dtype : "i32";

/** The interpretation of a 128-bit value, as instruction names begin. */
export const shapeOf = (dtype: DType): "i32x4" | "i64x2" | "f32x4" | "f64x2" =>
  dtype === "f32" ? "f32x4" : dtype === "f64" ? "f64x2" : dtype === "i64" ? "i64x2" : "i32x4";

export const uniform = (dtype: DType, value: Value): Lanes => ({ dtype, vector: false, parts: [value] });
export const vector = (dtype: DType, parts: readonly Value[]): Lanes => ({ dtype, vector: true, parts });

/** The value of lanes that agree. */
export const single = ({ parts }: Lanes): Value => parts[0] as Value;

export function constant(graph: ValueGraph, dtype: DType, value: number): Value {
  switch (scalarType(dtype)) {
    case "f32":
      return graph.f32(value);
    case "f64":
      return graph.f64(value);
    case "i64":
      // The greatest i64 is no double: the next one stands for it.
      return graph.i64(value >= 2 ** 63 ? 2n ** 63n - 1n : BigInt(value));
    default:
      return graph.i32(value);
  }
}

/** The same in every lane: a value repeated as parts. */
export function splat(machine: Machine, lanes: Lanes): Lanes {
  if (lanes.vector) return lanes;
  const { graph } = machine;
  const { dtype } = lanes;
  const value = dtype === "bool" ? graph.op("i32.sub", [graph.i32(0), single(lanes)]) : single(lanes);
  const part = graph.op(`${shapeOf(dtype)}.splat`, [value]);
  return vector(dtype, new Array<Value>(partCount(machine, dtype)).fill(part));
}

/** One lane as a scalar. */
export function extract({ graph }: Machine, lanes: Lanes, lane: number): Value {
  if (!lanes.vector) return single(lanes);
  const { dtype, parts } = lanes;
  const per = lanesPerPart(dtype);
  const value = graph.op(`${shapeOf(dtype)}.extract_lane`, [parts[Math.floor(lane / per)] as Value], lane % per);
  return dtype === "bool" ? graph.op("i32.and", [value, graph.i32(1)]) : value;
}

const laneLoads: { readonly [name: string]: OpName } = {
  "f32.load": "v128.load32_lane",
  "i32.load": "v128.load32_lane",
  "f64.load": "v128.load64_lane",
  "i64.load": "v128.load64_lane",
};

/** Scalars as the lanes of parts. */
export function pack(machine: Machine, dtype: DType, values: readonly Value[]): Lanes {
  const { graph } = machine;
  const per = lanesPerPart(dtype);
  const shape = shapeOf(dtype);
  const parts: Value[] = [];
  for (let first = 0; first < machine.width; first += per) {
    const own = values.slice(first, first + per);
    const lanes = dtype === "bool" ? own.map((v) => graph.op("i32.sub", [graph.i32(0), v])) : own;
    let part = graph.op(`${shape}.splat`, [lanes[0] as Value]);
    for (let i = 1; i < lanes.length; i++) {
      const lane = lanes[i] as Value;
      if (lane === lanes[0]) continue;
      const load = lane.op && !lane.pinned ? laneLoads[lane.op] : undefined;
      part = load
        ? graph.op(load, [lane.args[0] as Value, part], i, ...lane.immediates)
        : graph.op(`${shape}.replace_lane`, [part, lane], i);
    }
    parts.push(part);
  }
  return vector(dtype, parts);
}

/** A function of scalars, applied lane by lane; once where all its arguments agree. */
export function laneWise(
  machine: Machine,
  result: DType,
  args: readonly Lanes[],
  scalar: (...values: readonly Value[]) => Value,
): Lanes {
  if (args.every((a) => !a.vector)) return uniform(result, scalar(...args.map(single)));
  const lanes = Array.from({ length: machine.width }, (_, i) => scalar(...args.map((a) => extract(machine, a, i))));
  return pack(machine, result, lanes);
}

/** A function of parts; all arguments have equally many. */
export function partWise(
  machine: Machine,
  result: DType,
  args: readonly Lanes[],
  part: (...values: readonly Value[]) => Value,
): Lanes {
  const full = args.map((a) => splat(machine, a));
  return vector(
    result,
    (full[0] as Lanes).parts.map((_, i) => part(...full.map((a) => a.parts[i] as Value))),
  );
}

const high = [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15];
const lowHalves = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];
const evenWords = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27];

/** Parts of 32-bit lanes to parts of 64: `convert` takes the two low lanes of its argument. */
export function widen(machine: Machine, parts: readonly Value[], convert: (part: Value) => Value): Value[] {
  const { graph, width } = machine;
  return Array.from({ length: Math.ceil(width / 2) }, (_, i) => {
    const part = parts[i >> 1] as Value;
    return convert(i % 2 === 0 ? part : graph.op("i8x16.shuffle", [part, part], high));
  });
}

/** Parts of 64-bit lanes to parts of 32: `convert` leaves its results in the two low lanes. */
export function narrow(machine: Machine, parts: readonly Value[], convert: (part: Value) => Value): Value[] {
  const { graph } = machine;
  const made: Value[] = [];
  for (let i = 0; i < parts.length; i += 2) {
    const low = convert(parts[i] as Value);
    const next = parts[i + 1];
    made.push(next ? graph.op("i8x16.shuffle", [low, convert(next)], lowHalves) : low);
  }
  return made;
}

/** Masks of 32-bit lanes as masks of 64. */
export function widenMask(machine: Machine, parts: readonly Value[]): Value[] {
  const { graph } = machine;
  // A comparison in 64 bits was narrowed by the shuffle below: take it back.
  const wide = Array.from({ length: Math.ceil(machine.width / 2) }, (_, i) => {
    const from = parts[i >> 1] as Value;
    return from.op === "i8x16.shuffle" && from.immediates[0] === evenWords ? from.args[i % 2] : undefined;
  });
  if (wide.every((v) => v !== undefined)) return wide;
  return widen(machine, parts, (part) => graph.op("i64x2.extend_low_i32x4_s", [part]));
}

/** Masks of 64-bit lanes as masks of 32. */
export function narrowMask({ graph }: Machine, parts: readonly Value[]): Value[] {
  const made: Value[] = [];
  for (let i = 0; i < parts.length; i += 2) {
    const low = parts[i] as Value;
    made.push(graph.op("i8x16.shuffle", [low, parts[i + 1] ?? low], evenWords));
  }
  return made;
}
