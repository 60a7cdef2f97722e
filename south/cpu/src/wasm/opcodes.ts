/** The instructions of fixed type, one row each: `name: [code, signature, immediate kind, its size]`. A signature is read
 *  "operands:results" with i = i32, l = i64, f = f32, d = f64, v = v128. The encoder, the stack checker and the tests all
 *  read these rows; polymorphic instructions (control, locals, constants, select) are methods of `FunctionBody`.
 *  Source: WebAssembly core specification 3.0, chapter 5.4. */

import { relaxedSimd, simd } from "./opcodes-simd.ts";

export type ValType = "i32" | "i64" | "f32" | "f64" | "v128";

/** What follows an instruction's code, and what a row's last number means for it:
 *    memory      align and offset             natural alignment in bytes
 *    memoryLane  align, offset and a lane     bytes of the lane
 *    lane        a lane                       number of lanes
 *    shuffle     16 lanes                     number of lanes to choose from
 *    zeros       reserved bytes               how many */
export type ImmediateKind = "memory" | "memoryLane" | "lane" | "shuffle" | "zeros";

export type OpcodeRow =
  | readonly [code: number, signature: `${string}:${string}`]
  | readonly [code: number, signature: `${string}:${string}`, immediate: ImmediateKind, size: number];

export const scalar = {
  // loads and stores: the number is the natural alignment in bytes
  "i32.load": [0x28, "i:i", "memory", 4],
  "i64.load": [0x29, "i:l", "memory", 8],
  "f32.load": [0x2a, "i:f", "memory", 4],
  "f64.load": [0x2b, "i:d", "memory", 8],
  "i32.load8_s": [0x2c, "i:i", "memory", 1],
  "i32.load8_u": [0x2d, "i:i", "memory", 1],
  "i32.load16_s": [0x2e, "i:i", "memory", 2],
  "i32.load16_u": [0x2f, "i:i", "memory", 2],
  "i32.store": [0x36, "ii:", "memory", 4],
  "i64.store": [0x37, "il:", "memory", 8],
  "f32.store": [0x38, "if:", "memory", 4],
  "f64.store": [0x39, "id:", "memory", 8],
  "i32.store8": [0x3a, "ii:", "memory", 1],
  "i32.store16": [0x3b, "ii:", "memory", 2],

  // comparisons
  "i32.eqz": [0x45, "i:i"],
  "i32.eq": [0x46, "ii:i"],
  "i32.ne": [0x47, "ii:i"],
  "i32.lt_s": [0x48, "ii:i"],
  "i32.lt_u": [0x49, "ii:i"],
  "i32.gt_s": [0x4a, "ii:i"],
  "i32.gt_u": [0x4b, "ii:i"],
  "i32.le_s": [0x4c, "ii:i"],
  "i32.le_u": [0x4d, "ii:i"],
  "i32.ge_s": [0x4e, "ii:i"],
  "i32.ge_u": [0x4f, "ii:i"],
  "i64.eqz": [0x50, "l:i"],
  "i64.eq": [0x51, "ll:i"],
  "i64.ne": [0x52, "ll:i"],
  "i64.lt_s": [0x53, "ll:i"],
  "i64.lt_u": [0x54, "ll:i"],
  "i64.gt_s": [0x55, "ll:i"],
  "i64.gt_u": [0x56, "ll:i"],
  "i64.le_s": [0x57, "ll:i"],
  "i64.le_u": [0x58, "ll:i"],
  "i64.ge_s": [0x59, "ll:i"],
  "i64.ge_u": [0x5a, "ll:i"],
  "f32.eq": [0x5b, "ff:i"],
  "f32.ne": [0x5c, "ff:i"],
  "f32.lt": [0x5d, "ff:i"],
  "f32.gt": [0x5e, "ff:i"],
  "f32.le": [0x5f, "ff:i"],
  "f32.ge": [0x60, "ff:i"],
  "f64.eq": [0x61, "dd:i"],
  "f64.ne": [0x62, "dd:i"],
  "f64.lt": [0x63, "dd:i"],
  "f64.gt": [0x64, "dd:i"],
  "f64.le": [0x65, "dd:i"],
  "f64.ge": [0x66, "dd:i"],

  // arithmetic
  "i32.clz": [0x67, "i:i"],
  "i32.ctz": [0x68, "i:i"],
  "i32.popcnt": [0x69, "i:i"],
  "i32.add": [0x6a, "ii:i"],
  "i32.sub": [0x6b, "ii:i"],
  "i32.mul": [0x6c, "ii:i"],
  "i32.div_s": [0x6d, "ii:i"],
  "i32.div_u": [0x6e, "ii:i"],
  "i32.rem_s": [0x6f, "ii:i"],
  "i32.rem_u": [0x70, "ii:i"],
  "i32.and": [0x71, "ii:i"],
  "i32.or": [0x72, "ii:i"],
  "i32.xor": [0x73, "ii:i"],
  "i32.shl": [0x74, "ii:i"],
  "i32.shr_s": [0x75, "ii:i"],
  "i32.shr_u": [0x76, "ii:i"],
  "i64.clz": [0x79, "l:l"],
  "i64.ctz": [0x7a, "l:l"],
  "i64.popcnt": [0x7b, "l:l"],
  "i64.add": [0x7c, "ll:l"],
  "i64.sub": [0x7d, "ll:l"],
  "i64.mul": [0x7e, "ll:l"],
  "i64.div_s": [0x7f, "ll:l"],
  "i64.div_u": [0x80, "ll:l"],
  "i64.rem_s": [0x81, "ll:l"],
  "i64.rem_u": [0x82, "ll:l"],
  "i64.and": [0x83, "ll:l"],
  "i64.or": [0x84, "ll:l"],
  "i64.xor": [0x85, "ll:l"],
  "i64.shl": [0x86, "ll:l"],
  "i64.shr_s": [0x87, "ll:l"],
  "i64.shr_u": [0x88, "ll:l"],
  "f32.abs": [0x8b, "f:f"],
  "f32.neg": [0x8c, "f:f"],
  "f32.ceil": [0x8d, "f:f"],
  "f32.floor": [0x8e, "f:f"],
  "f32.trunc": [0x8f, "f:f"],
  "f32.nearest": [0x90, "f:f"],
  "f32.sqrt": [0x91, "f:f"],
  "f32.add": [0x92, "ff:f"],
  "f32.sub": [0x93, "ff:f"],
  "f32.mul": [0x94, "ff:f"],
  "f32.div": [0x95, "ff:f"],
  "f32.min": [0x96, "ff:f"],
  "f32.max": [0x97, "ff:f"],
  "f32.copysign": [0x98, "ff:f"],
  "f64.abs": [0x99, "d:d"],
  "f64.neg": [0x9a, "d:d"],
  "f64.ceil": [0x9b, "d:d"],
  "f64.floor": [0x9c, "d:d"],
  "f64.trunc": [0x9d, "d:d"],
  "f64.nearest": [0x9e, "d:d"],
  "f64.sqrt": [0x9f, "d:d"],
  "f64.add": [0xa0, "dd:d"],
  "f64.sub": [0xa1, "dd:d"],
  "f64.mul": [0xa2, "dd:d"],
  "f64.div": [0xa3, "dd:d"],
  "f64.min": [0xa4, "dd:d"],
  "f64.max": [0xa5, "dd:d"],
  "f64.copysign": [0xa6, "dd:d"],

  // conversions
  "i32.wrap_i64": [0xa7, "l:i"],
  "i64.extend_i32_s": [0xac, "i:l"],
  "i64.extend_i32_u": [0xad, "i:l"],
  "f32.convert_i32_s": [0xb2, "i:f"],
  "f32.convert_i32_u": [0xb3, "i:f"],
  "f32.convert_i64_s": [0xb4, "l:f"],
  "f32.convert_i64_u": [0xb5, "l:f"],
  "f32.demote_f64": [0xb6, "d:f"],
  "f64.convert_i32_s": [0xb7, "i:d"],
  "f64.convert_i32_u": [0xb8, "i:d"],
  "f64.convert_i64_s": [0xb9, "l:d"],
  "f64.convert_i64_u": [0xba, "l:d"],
  "f64.promote_f32": [0xbb, "f:d"],
  "i32.reinterpret_f32": [0xbc, "f:i"],
  "i64.reinterpret_f64": [0xbd, "d:l"],
  "f32.reinterpret_i32": [0xbe, "i:f"],
  "f64.reinterpret_i64": [0xbf, "l:d"],
  "i32.extend8_s": [0xc0, "i:i"],
  "i32.extend16_s": [0xc1, "i:i"],
  "i64.extend8_s": [0xc2, "l:l"],
  "i64.extend16_s": [0xc3, "l:l"],
  "i64.extend32_s": [0xc4, "l:l"],
} as const;

/** Saturating truncation and bulk memory, behind the prefix 0xfc. */
export const saturatingAndBulk = {
  "i32.trunc_sat_f32_s": [0x00, "f:i"],
  "i32.trunc_sat_f32_u": [0x01, "f:i"],
  "i32.trunc_sat_f64_s": [0x02, "d:i"],
  "i32.trunc_sat_f64_u": [0x03, "d:i"],
  "i64.trunc_sat_f32_s": [0x04, "f:l"],
  "i64.trunc_sat_f32_u": [0x05, "f:l"],
  "i64.trunc_sat_f64_s": [0x06, "d:l"],
  "i64.trunc_sat_f64_u": [0x07, "d:l"],
  "memory.fill": [0x0b, "iii:", "zeros", 1],
} as const;

/** Behind the prefix 0xfe: the one atomic instruction that is asked for, to know whether the engine has them. Loops are shared
 *  by tasks whose counters JavaScript's Atomics keep. */
export const atomic = {
  "memory.atomic.notify": [0x00, "ii:i", "memory", 4],
} as const;

const rows = { ...scalar, ...saturatingAndBulk, ...simd, ...relaxedSimd, ...atomic } satisfies Record<
  string,
  OpcodeRow
>;

type Rows = typeof rows;

/** The name of an instruction of fixed type, as in the text format. */
export type OpName = keyof Rows;

/** The immediates that `FunctionBody.op` takes for an instruction. Offsets and alignments are in bytes. */
export type Immediates<N extends OpName> = Rows[N] extends readonly [number, string, infer Kind, number]
  ? Kind extends "memory"
    ? [offset?: number, align?: number, memory?: number]
    : Kind extends "memoryLane"
      ? [lane: number, offset?: number, align?: number, memory?: number]
      : Kind extends "lane"
        ? [lane: number]
        : Kind extends "shuffle"
          ? [lanes: readonly number[]]
          : []
  : [];

/** A row as the encoder and the checker read it. */
export interface Opcode {
  readonly name: OpName;
  /** 0 where the code stands alone. */
  readonly prefix: number;
  readonly code: number;
  readonly operands: readonly ValType[];
  readonly results: readonly ValType[];
  readonly immediate: ImmediateKind | undefined;
  readonly size: number;
}

const letters: { readonly [letter: string]: ValType } = { i: "i32", l: "i64", f: "f32", d: "f64", v: "v128" };

function types(text: string): readonly ValType[] {
  return Array.from(text, (letter) => {
    const type = letters[letter];
    if (type === undefined) throw new TypeError(`opcode table: "${letter}" is not a type letter`);
    return type;
  });
}

function opcode(name: OpName): Opcode {
  const row: OpcodeRow = rows[name];
  const [operands = "", results = ""] = row[1].split(":");
  const prefix =
    name in saturatingAndBulk ? 0xfc : name in simd || name in relaxedSimd ? 0xfd : name in atomic ? 0xfe : 0;
  return {
    name,
    prefix,
    code: row[0],
    operands: types(operands),
    results: types(results),
    immediate: row[2],
    size: row[3] ?? 0,
  };
}

export const opNames = Object.keys(rows) as readonly OpName[];

export const opcodes = Object.fromEntries(opNames.map((name) => [name, opcode(name)])) as {
  readonly [N in OpName]: Opcode;
};
