/** Loads and stores of a kernel. An address is a pointer that the loops advance plus a constant offset in the instruction;
 *  lanes that lie side by side move as 128 bits. Where a mask is false, address 0 is read instead, and the value is 0. */

import { affine, bounds, type DType, dtypes, dtypeOf, type Node, type NodeOf } from "sinan/south";
import {
  constant,
  extract,
  isWide,
  type Lanes,
  lanesPerPart,
  pack,
  partCount,
  single,
  splat,
  uniform,
  vector,
} from "./lanes.ts";
import type { Loop, Lowering } from "./nest.ts";
import { opcodes, type OpName } from "./opcodes.ts";
import { constantOf, type Value } from "./value.ts";

export interface Memory {
  readonly base: Value;
  /** Where the buffer begins behind `base`. */
  readonly bytes: number;
  /** In which of the module's memories. */
  readonly memory: number;
  /** The nest writes to it too: its loads stay where they are. */
  readonly pinned: boolean;
}

export interface Store {
  /** Stored only where it is not 0. */
  readonly mask: Value | undefined;
  readonly op: OpName;
  /** Of the stores of one lane. */
  readonly lane: number | undefined;
  readonly address: Value;
  readonly offset: number;
  readonly memory: number;
  readonly value: Value;
}

interface Address {
  readonly pointer: Value;
  readonly offset: number;
  readonly memory: number;
}

const loads = {
  bool: "i32.load8_u",
  u8: "i32.load8_u",
  i8: "i32.load8_s",
  u16: "i32.load16_u",
  i16: "i32.load16_s",
  i32: "i32.load",
  u32: "i32.load",
  i64: "i64.load",
  f16: "i32.load16_u",
  bf16: "i32.load16_u",
  f32: "f32.load",
  f64: "f64.load",
} as const;

const stores = {
  bool: "i32.store8",
  u8: "i32.store8",
  i8: "i32.store8",
  u16: "i32.store16",
  i16: "i32.store16",
  i32: "i32.store",
  u32: "i32.store",
  i64: "i64.store",
  f16: "i32.store16",
  bf16: "i32.store16",
  f32: "f32.store",
  f64: "f64.store",
} as const;

const laneStores: { readonly [bytes: number]: OpName } = {
  1: "v128.store8_lane",
  2: "v128.store16_lane",
  4: "v128.store32_lane",
  8: "v128.store64_lane",
};

type Plain = keyof typeof loads;
const plain = (dtype: DType): Plain => dtype as Plain;

/** An offset below this lies inside of any memory, even behind address 0. */
const safeOffset = 32768;

/** The address of an element. The constant part goes into the instruction, unless what is left could be negative. */
function addressOf(lowering: Lowering, buffer: Node, index: Node, at: Loop): Address {
  const { graph } = lowering;
  const { base, bytes: start, memory } = lowering.address(buffer);
  const size = dtypes[dtypeOf(buffer)].bytes;
  const { constant: fixed, terms } = affine(index);
  let least = 0;
  for (const [atom, k] of terms) {
    const [low, high] = bounds(atom);
    least += Math.min(low * k, high * k);
  }
  // `pointer` is moved up so that it stays inside of the buffer by itself.
  const lift = least >= 0 ? 0 : least > -(2 ** 28) ? -least * size : Number.POSITIVE_INFINITY;
  const total = fixed * size + start;
  const inPointer = total - lift >= 0 ? lift : total;
  let pointer = inPointer === 0 ? base : graph.op("i32.add", [base, graph.i32(inPointer)]);
  const parts = [...terms].map(([atom, k]) => {
    const loop = lowering.home(atom, at);
    return { atom, step: k * size, loop, isLoop: loop.range === atom };
  });
  // Outer terms first, so that their sum is made outside; a loop's own range before what else changes in it.
  parts.sort((p, q) => p.loop.region.depth - q.loop.region.depth || Number(q.isLoop) - Number(p.isLoop));
  for (const { atom, step, loop, isLoop } of parts) {
    if (isLoop) {
      pointer = graph.induction(loop.region, pointer, step);
      continue;
    }
    const value = single(lowering.lower(atom, at));
    pointer = graph.op("i32.add", [pointer, graph.op("i32.mul", [value, graph.i32(step)])]);
  }
  return { pointer, offset: total - inPointer, memory };
}

/** How many elements lanes lie apart in memory, if all as many: 1 where they lie side by side. */
function laneStep(lowering: Lowering, index: Node): number | undefined {
  const { lane } = lowering;
  const { terms } = affine(index);
  return lane && [...terms.keys()].every((atom) => atom === lane || !lowering.varies(atom))
    ? terms.get(lane)
    : undefined;
}

export function loadLanes(lowering: Lowering, node: NodeOf<"load">, at: Loop): Lanes {
  const [, index, mask] = node.src as [Node, Node, Node | undefined];
  const dtype = dtypeOf(node);
  const indexVaries = lowering.varies(index);
  const maskVaries = mask !== undefined && lowering.varies(mask);
  if (!indexVaries && !maskVaries) return uniform(dtype, loadOne(lowering, node, at));
  const step = maskVaries ? undefined : laneStep(lowering, index);
  if (step === 1 || (step === 2 && lowering.machine.width > 2 && dtypes[dtype].bytes === 4)) {
    const parts = loadParts(lowering, node, at, step);
    if (parts) return vector(dtype, parts);
  }
  const lanes = lowering.inLanes(node as Node).map((n) => single(lowering.lower(n, at)));
  return pack(lowering.machine, dtype, lanes);
}

/** What a masked load reads: its element, or address 0. */
function guarded(lowering: Lowering, address: Address, mask: Value | undefined): Address {
  if (!mask || constantOf(mask) === 1) return address;
  const { graph } = lowering;
  const { offset, memory } = address;
  const far = offset >= safeOffset;
  const pointer = far ? graph.op("i32.add", [address.pointer, graph.i32(offset)]) : address.pointer;
  return { pointer: graph.select(pointer, graph.i32(0), mask), offset: far ? 0 : offset, memory };
}

function maskOf(lowering: Lowering, node: NodeOf<"load"> | NodeOf<"store">, at: Loop): Value | undefined {
  const mask = node.src[node.op === "load" ? 2 : 3];
  return mask && single(lowering.lower(mask, at));
}

function loadOne(lowering: Lowering, node: NodeOf<"load">, at: Loop): Value {
  const { graph } = lowering;
  const [buffer, index] = node.src as [Node, Node];
  const dtype = dtypeOf(node);
  const zero = constant(graph, dtype, 0);
  const mask = maskOf(lowering, node, at);
  if (mask && constantOf(mask) === 0) return zero;
  const value = read(
    lowering,
    loads[plain(dtype)],
    guarded(lowering, addressOf(lowering, buffer, index, at), mask),
    buffer,
    at,
  );
  return mask ? graph.select(value, zero, mask) : value;
}

function read(lowering: Lowering, op: OpName, { pointer, offset, memory }: Address, buffer: Node, at: Loop): Value {
  const { graph } = lowering;
  const place = memory === 0 ? [offset] : [offset, opcodes[op].size, memory];
  if (lowering.address(buffer).pinned) return graph.loadHere(op, pointer, place, at.region);
  return graph.op(op, [pointer], ...place);
}

/** Of words 0, 1, 2, 3 and 3, 4, 5, 6 every second one, so that nothing behind the last is read. */
const everySecond = [0, 1, 2, 3, 8, 9, 10, 11, 20, 21, 22, 23, 28, 29, 30, 31];

/** Lanes that lie side by side, or `step` elements apart, as parts; undefined where there is no instruction for so few. */
function loadParts(lowering: Lowering, node: NodeOf<"load">, at: Loop, step: number): Value[] | undefined {
  const { graph, machine } = lowering;
  const [buffer, index] = node.src as [Node, Node];
  const dtype = dtypeOf(node);
  const { bytes } = dtypes[dtype];
  const few = machine.width < 4 && !isWide(dtype);
  if (few && bytes === 1) return undefined;
  const zero = graph.i32x4([0, 0, 0, 0]);
  const count = partCount(machine, dtype);
  const mask = maskOf(lowering, node, at);
  if (mask && constantOf(mask) === 0) return new Array<Value>(count).fill(zero);
  const first = (lowering.inLanes(index) as [Node])[0];
  const { pointer, offset, memory } = guarded(lowering, addressOf(lowering, buffer, first, at), mask);
  const from = (op: OpName, element: number): Value =>
    read(lowering, op, { pointer, offset: offset + element * bytes, memory }, buffer, at);
  const part = (op: OpName, i: number): Value => {
    const element = i * step * lanesPerPart(dtype);
    if (step === 1) return from(op, element);
    return graph.op("i8x16.shuffle", [from(op, element), from(op, element + 3)], everySecond);
  };
  return Array.from({ length: count }, (_, i) => {
    const value = widened(lowering, dtype, few, (op) => part(op, i));
    return mask ? graph.select(value, zero, mask) : value;
  });
}

/** One part from memory, its lanes brought to 32 or 64 bits. */
function widened({ graph }: Lowering, dtype: DType, few: boolean, load: (op: OpName) => Value): Value {
  const sign = dtypes[dtype].kind === "int" ? "s" : "u";
  switch (dtypes[dtype].bytes) {
    case 1: {
      const words = graph.op(`i16x8.extend_low_i8x16_${sign}`, [load("v128.load32_zero")]);
      const lanes = graph.op(`i32x4.extend_low_i16x8_${sign}`, [words]);
      return dtype === "bool" ? graph.op("i32x4.ne", [lanes, graph.i32x4([0, 0, 0, 0])]) : lanes;
    }
    case 2:
      return few
        ? graph.op(`i32x4.extend_low_i16x8_${sign}`, [load("v128.load32_zero")])
        : load(`v128.load16x4_${sign}`);
    case 4:
      return load(few ? "v128.load64_zero" : "v128.load");
    default:
      return load("v128.load");
  }
}

export function storeLanes(lowering: Lowering, node: NodeOf<"store">, at: Loop): readonly Store[] {
  const [buffer, index, value, mask] = node.src as [Node, Node, Node, Node | undefined];
  const lanes = lowering.lower(value, at);
  const indexVaries = lowering.varies(index);
  const maskVaries = mask !== undefined && lowering.varies(mask);
  if (!indexVaries && !maskVaries) {
    // All lanes go to one place: the last one stays.
    const last = extract(lowering.machine, lanes, lowering.machine.width - 1);
    return unmasked([storeOne(lowering, node, at, last)]);
  }
  if (!maskVaries && laneStep(lowering, index) === 1) {
    const all = storeParts(lowering, node, at, splat(lowering.machine, lanes));
    if (all) return unmasked(all);
  }
  return unmasked(
    lowering.inLanes(node as Node).map((n, i) => storeLane(lowering, n as NodeOf<"store">, at, buffer, lanes, i)),
  );
}

/** Stores whose mask is known. */
const unmasked = (all: readonly Store[]): readonly Store[] =>
  all.flatMap((s) => {
    const known = s.mask && constantOf(s.mask);
    return known === 0 ? [] : known === undefined ? [s] : [{ ...s, mask: undefined }];
  });

function storeOne(lowering: Lowering, node: NodeOf<"store">, at: Loop, value: Value): Store {
  const [buffer, index] = node.src as [Node, Node];
  const { pointer, offset, memory } = addressOf(lowering, buffer, index, at);
  const op = stores[plain(dtypeOf(buffer))];
  return { mask: maskOf(lowering, node, at), op, lane: undefined, address: pointer, offset, memory, value };
}

function storeLane(lowering: Lowering, node: NodeOf<"store">, at: Loop, buffer: Node, lanes: Lanes, i: number): Store {
  if (!lanes.vector) return storeOne(lowering, node, at, single(lanes));
  const { dtype } = lanes;
  const { bytes } = dtypes[dtypeOf(buffer)];
  const per = lanesPerPart(dtype);
  const one = storeOne(lowering, node, at, inMemory(lowering, lanes, Math.floor(i / per)));
  const width = isWide(dtype) ? 8 : 4;
  return { ...one, op: laneStores[bytes] as OpName, lane: (i % per) * (width / bytes) };
}

/** A part with lanes as memory holds them: true is 1 there. */
function inMemory({ graph }: Lowering, { dtype, parts }: Lanes, i: number): Value {
  const part = parts[i] as Value;
  return dtype === "bool" ? graph.op("v128.and", [part, graph.i32x4([1, 1, 1, 1])]) : part;
}

function storeParts(lowering: Lowering, node: NodeOf<"store">, at: Loop, lanes: Lanes): Store[] | undefined {
  const { graph, machine } = lowering;
  const [buffer, index] = node.src as [Node, Node];
  const { dtype } = lanes;
  const { bytes } = dtypes[dtype];
  const few = machine.width < 4 && !isWide(dtype);
  if (few && bytes < 4) return undefined;
  const mask = maskOf(lowering, node, at);
  const first = (lowering.inLanes(index) as [Node])[0];
  const { pointer, offset, memory } = addressOf(lowering, buffer, first, at);
  return lanes.parts.map((_, i) => {
    const part = inMemory(lowering, lanes, i);
    const at = { mask, lane: undefined, address: pointer, offset: offset + i * lanesPerPart(dtype) * bytes, memory };
    if (few) return { ...at, op: "v128.store64_lane", lane: 0, value: part };
    if (bytes >= 4) return { ...at, op: "v128.store", value: part };
    // The lanes are in range, so that nothing saturates.
    const sign = dtypes[dtype].kind === "int" ? "s" : "u";
    const words = graph.op(`i16x8.narrow_i32x4_${sign}`, [part, part]);
    if (bytes === 2) return { ...at, op: "v128.store64_lane", lane: 0, value: words };
    return { ...at, op: "v128.store32_lane", lane: 0, value: graph.op(`i8x16.narrow_i16x8_${sign}`, [words, words]) };
  });
}
