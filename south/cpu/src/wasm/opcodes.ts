/** The instructions of fixed type, in rows of `[code, family, signature, names, immediate kind, its size]`. A signature is read
 *  "operands:results" with i = i32, l = i64, f = f32, d = f64, v = v128. The encoder, the stack checker and the tests all
 *  read these rows, and the compiler the names in them; polymorphic instructions (control, locals, constants, select) are methods of `FunctionBody`.
 *  Source: WebAssembly core specification 3.0, chapter 5.4. */

import { simd } from "./opcodes-simd.ts";

export type ValType = "i32" | "i64" | "f32" | "f64" | "v128";

/** What follows an instruction's code, and what a row's last number means for it:
 *    memory      align and offset             natural alignment in bytes
 *    memoryLane  align, offset and a lane     bytes of the lane
 *    lane        a lane                       number of lanes
 *    shuffle     16 lanes                     number of lanes to choose from
 *    zeros       reserved bytes               how many */
export type ImmediateKind = "memory" | "memoryLane" | "lane" | "shuffle" | "zeros";

/** Instructions of one signature whose codes follow one another: the first one's code, what all names begin with, the signature,
 *  the rest of each name. */
export type OpcodeRow =
  | readonly [code: number, family: string, signature: `${string}:${string}`, names: string]
  | readonly [
      code: number,
      family: string,
      signature: `${string}:${string}`,
      names: string,
      immediate: ImmediateKind,
      size: number,
    ];

const scalar = [
  [0x28, "i32", "i:i", "load", "memory", 4],
  [0x29, "i64", "i:l", "load", "memory", 8],
  [0x2a, "f32", "i:f", "load", "memory", 4],
  [0x2b, "f64", "i:d", "load", "memory", 8],
  [0x2c, "i32", "i:i", "load8_s load8_u", "memory", 1],
  [0x2e, "i32", "i:i", "load16_s load16_u", "memory", 2],
  [0x36, "i32", "ii:", "store", "memory", 4],
  [0x37, "i64", "il:", "store", "memory", 8],
  [0x38, "f32", "if:", "store", "memory", 4],
  [0x39, "f64", "id:", "store", "memory", 8],
  [0x3a, "i32", "ii:", "store8", "memory", 1],
  [0x3b, "i32", "ii:", "store16", "memory", 2],
  [0x45, "i32", "i:i", "eqz"],
  [0x46, "i32", "ii:i", "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"],
  [0x50, "i64", "l:i", "eqz"],
  [0x51, "i64", "ll:i", "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"],
  [0x5b, "f32", "ff:i", "eq ne lt gt le ge"],
  [0x61, "f64", "dd:i", "eq ne lt gt le ge"],
  [0x67, "i32", "i:i", "clz ctz popcnt"],
  [0x6a, "i32", "ii:i", "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u"],
  [0x79, "i64", "l:l", "clz ctz popcnt"],
  [0x7c, "i64", "ll:l", "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u"],
  [0x8b, "f32", "f:f", "abs neg ceil floor trunc nearest sqrt"],
  [0x92, "f32", "ff:f", "add sub mul div min max copysign"],
  [0x99, "f64", "d:d", "abs neg ceil floor trunc nearest sqrt"],
  [0xa0, "f64", "dd:d", "add sub mul div min max copysign"],
  [0xa7, "i32", "l:i", "wrap_i64"],
  [0xac, "i64", "i:l", "extend_i32_s extend_i32_u"],
  [0xb2, "f32", "i:f", "convert_i32_s convert_i32_u"],
  [0xb4, "f32", "l:f", "convert_i64_s convert_i64_u"],
  [0xb6, "f32", "d:f", "demote_f64"],
  [0xb7, "f64", "i:d", "convert_i32_s convert_i32_u"],
  [0xb9, "f64", "l:d", "convert_i64_s convert_i64_u"],
  [0xbb, "f64", "f:d", "promote_f32"],
  [0xbc, "i32", "f:i", "reinterpret_f32"],
  [0xbd, "i64", "d:l", "reinterpret_f64"],
  [0xbe, "f32", "i:f", "reinterpret_i32"],
  [0xbf, "f64", "l:d", "reinterpret_i64"],
  [0xc0, "i32", "i:i", "extend8_s extend16_s"],
  [0xc2, "i64", "l:l", "extend8_s extend16_s extend32_s"],
] as const;

/** Saturating truncation and bulk memory. */
const saturatingAndBulk = [
  [0x00, "i32", "f:i", "trunc_sat_f32_s trunc_sat_f32_u"],
  [0x02, "i32", "d:i", "trunc_sat_f64_s trunc_sat_f64_u"],
  [0x04, "i64", "f:l", "trunc_sat_f32_s trunc_sat_f32_u"],
  [0x06, "i64", "d:l", "trunc_sat_f64_s trunc_sat_f64_u"],
  [0x0b, "memory", "iii:", "fill", "zeros", 1],
] as const;

/** The one atomic instruction that is asked for, to know whether the engine has them. Loops are shared by tasks whose counters
 *  JavaScript's Atomics keep. */
const atomic = [[0x00, "memory", "ii:i", "atomic.notify", "memory", 4]] as const;

/** By the prefix before their codes; 0 where the code stands alone. */
const tables = [
  [0, scalar],
  [0xfc, saturatingAndBulk],
  [0xfd, simd],
  [0xfe, atomic],
] as const satisfies readonly (readonly [prefix: number, rows: readonly OpcodeRow[]])[];

type Row = (typeof tables)[number][1][number];
type Words<Text extends string> = Text extends `${infer First} ${infer Rest}` ? First | Words<Rest> : Text;
type NameIn<R extends Row> = R extends unknown ? `${R[1]}.${Words<R[3]>}` : never;
type RowOf<N extends string, R extends Row = Row> = R extends unknown ? (N extends NameIn<R> ? R : never) : never;

/** The name of an instruction of fixed type, as in the text format. */
export type OpName = NameIn<Row>;

/** The immediates that `FunctionBody.op` takes for an instruction. Offsets and alignments are in bytes. */
export type Immediates<N extends OpName> =
  RowOf<N> extends readonly [number, string, string, string, infer Kind, number]
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

const all: Record<string, Opcode> = {};
for (const [prefix, rows] of tables) {
  for (const [first, family, signature, names, immediate, size = 0] of rows as readonly OpcodeRow[]) {
    const [operands = [], results = []] = signature.split(":").map(types);
    for (const [i, word] of names.split(" ").entries()) {
      const name = `${family}.${word}` as OpName;
      all[name] = { name, prefix, code: first + i, operands, results, immediate, size };
    }
  }
}

export const opcodes = all as { readonly [N in OpName]: Opcode };
export const opNames = Object.keys(all) as readonly OpName[];
