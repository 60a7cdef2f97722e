/** Emits one function's instructions. A label is the depth a block was opened at, so a branch names its block from any
 *  depth and the encoder finds the relative index. A class, because kernels make thousands of these calls. `checker.ts` has one that
 *  follows the operand stack too.
 *  Source: WebAssembly core specification 3.0, chapter 5.4. */

import { ArgumentError, VerifyError } from "sinan/south";
import { ByteWriter } from "./bytes.ts";
import { type Immediates, type Opcode, type OpName, opcodes, type ValType } from "./opcodes.ts";

export const valTypeCode = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const satisfies {
  readonly [T in ValType]: number;
};

const EMPTY_BLOCK = 0x40;
const SIMD_PREFIX = 0xfd;

/** A block's label: 0 is the function itself, so `br(0)` returns. */
export type Label = number;

export interface FunctionType {
  readonly params: readonly ValType[];
  readonly results: readonly ValType[];
}

/** What a body needs to know of the module around it. */
export interface ModuleScope {
  typeIndex(params: readonly ValType[], results: readonly ValType[]): number;
  functionType(index: number): FunctionType | undefined;
}

/** Makes the body of a function. */
export type BodyOf = (scope: ModuleScope, name: string, type: FunctionType) => FunctionBody;

/** A lane, an offset or 16 lanes: what an instruction's first immediate may be. */
export type ImmediateValue = number | readonly number[];

export class FunctionBody {
  readonly #scope: ModuleScope;
  readonly #name: string;
  readonly #paramCount: number;
  readonly #code = new ByteWriter(1024);
  readonly #locals: ValType[];
  readonly #live: boolean[];
  readonly #free: { readonly [T in ValType]: number[] } = { i32: [], i64: [], f32: [], f64: [], v128: [] };
  #depth = 0;

  constructor(scope: ModuleScope, name: string, type: FunctionType) {
    this.#scope = scope;
    this.#name = name;
    this.#paramCount = type.params.length;
    this.#locals = [...type.params];
    this.#live = type.params.map(() => true);
  }

  // Locals

  /** A local of the given type. A fresh one is zero; one that was released keeps the value last put into it. */
  local(type: ValType): number {
    const index = this.#free[type].pop() ?? this.#locals.push(type) - 1;
    this.#live[index] = true;
    return index;
  }

  /** Gives locals back for `local` to hand out again.
   *  @throws ArgumentError if one is a parameter, or was released before */
  release(...locals: readonly number[]): void {
    for (const local of locals) {
      const type = this.#locals[local];
      if (type === undefined || local < this.#paramCount || this.#live[local] !== true) {
        throw new ArgumentError(`wasm function "${this.#name}": release: local ${local} is not one to release`, {
          hint: "release each result of local() once; parameters stay for the whole function",
        });
      }
      this.#live[local] = false;
      this.#free[type].push(local);
    }
  }

  get(local: number): void {
    this.#code.byte(0x20);
    this.#code.u32(local);
  }

  set(local: number): void {
    this.#code.byte(0x21);
    this.#code.u32(local);
  }

  tee(local: number): void {
    this.#code.byte(0x22);
    this.#code.u32(local);
  }

  // Constants

  /** The low 32 bits count: -1 and 0xffffffff are one constant. */
  i32(value: number): void {
    this.#code.byte(0x41);
    this.#code.s32(value);
  }

  /** The low 64 bits count; a number must be an integer. */
  i64(value: bigint | number): void {
    this.#code.byte(0x42);
    this.#code.s64(BigInt(value));
  }

  /** Rounded to f32. A NaN's sign and payload are the engine's choice. */
  f32(value: number): void {
    this.#code.byte(0x43);
    this.#code.f32(value);
  }

  f64(value: number): void {
    this.#code.byte(0x44);
    this.#code.f64(value);
  }

  /** 16 bytes, lowest address first.
   *  @throws ArgumentError if there are not 16 */
  v128(bytes: ArrayLike<number>): void {
    if (bytes.length !== 16) throw new ArgumentError(`v128.const takes 16 bytes, ${bytes.length} came`);
    this.#code.byte(SIMD_PREFIX);
    this.#code.byte(0x0c);
    this.#code.bytes(bytes);
  }

  // Instructions of fixed type

  /** Any instruction of the table in `opcodes.ts`, with its immediates: a load's offset, alignment in bytes and memory (0,
   *  natural and the first one when left out), a lane, a shuffle's 16 lanes. */
  op<N extends OpName>(name: N, ...immediates: Immediates<N>): void;
  op(name: OpName, first?: ImmediateValue, second?: number, third?: number, fourth?: number): void {
    const opcode: Opcode = opcodes[name];
    const code = this.#code;
    if (opcode.prefix === 0) {
      code.byte(opcode.code);
    } else {
      code.byte(opcode.prefix);
      code.u32(opcode.code);
    }
    switch (opcode.immediate) {
      case undefined:
        return;
      case "memory":
        return this.#place(second ?? opcode.size, first as number | undefined, third);
      case "memoryLane":
        this.#place(third ?? opcode.size, second, fourth);
        code.byte(first as number);
        return;
      case "lane":
        code.byte(first as number);
        return;
      case "shuffle":
        code.bytes(first as readonly number[]);
        return;
      case "zeros":
        for (let i = 0; i < opcode.size; i++) code.byte(0);
        return;
      default:
        opcode.immediate satisfies never;
    }
  }

  /** Where an instruction finds what it loads or stores. A memory behind the first is announced by a bit of the alignment. */
  #place(align: number, offset = 0, memory = 0): void {
    const code = this.#code;
    code.u32(log2(align) | (memory > 0 ? 0x40 : 0));
    if (memory > 0) code.u32(memory);
    code.u32(offset);
  }

  drop(): void {
    this.#code.byte(0x1a);
  }

  /** Of [a, b, condition] leaves a where the condition is not 0, b otherwise. */
  select(): void {
    this.#code.byte(0x1b);
  }

  // Control

  block(results: readonly ValType[] = [], params: readonly ValType[] = []): Label {
    return this.#open(0x02, results, params);
  }

  /** A branch to a loop's label goes back to its start and carries the loop's `params`. */
  loop(results: readonly ValType[] = [], params: readonly ValType[] = []): Label {
    return this.#open(0x03, results, params);
  }

  if(results: readonly ValType[] = [], params: readonly ValType[] = []): Label {
    return this.#open(0x04, results, params);
  }

  #open(code: number, results: readonly ValType[], params: readonly ValType[]): Label {
    this.#code.byte(code);
    const [only] = results;
    if (params.length > 0 || results.length > 1) this.#code.s32(this.#scope.typeIndex(params, results));
    else this.#code.byte(only === undefined ? EMPTY_BLOCK : valTypeCode[only]);
    return ++this.#depth;
  }

  else(): void {
    this.#code.byte(0x05);
  }

  /** Closes the innermost block; the function's own end is written by `finish`.
   *  @throws VerifyError if no block is open */
  end(): void {
    if (this.#depth === 0) throw new VerifyError(`wasm function "${this.#name}": no block is open to end`);
    this.#depth--;
    this.#code.byte(0x0b);
  }

  br(label: Label): void {
    this.#code.byte(0x0c);
    this.#code.u32(this.#depth - label);
  }

  brIf(label: Label): void {
    this.#code.byte(0x0d);
    this.#code.u32(this.#depth - label);
  }

  return(): void {
    this.#code.byte(0x0f);
  }

  unreachable(): void {
    this.#code.byte(0x00);
  }

  call(index: number): void {
    this.#code.byte(0x10);
    this.#code.u32(index);
  }

  /** Ends the function and writes locals and code, behind their length, to `out`.
   *  @throws VerifyError if a block is still open */
  finish(out: ByteWriter): void {
    if (this.#depth > 0)
      throw new VerifyError(`wasm function "${this.#name}": ${this.#depth} block(s) still open at the function's end`);
    this.#code.byte(0x0b);
    const header = new ByteWriter(32);
    const runs = runsOf(this.#locals.slice(this.#paramCount));
    header.u32(runs.length);
    for (const run of runs) {
      header.u32(run.count);
      header.byte(valTypeCode[run.type]);
    }
    out.u32(header.length + this.#code.length);
    out.bytes(header.written());
    out.bytes(this.#code.written());
  }
}

function log2(bytes: number): number {
  return 31 - Math.clz32(bytes);
}

/** Locals are declared as runs of one type. Their order is that of allocation, so that an index is known at once. */
function runsOf(types: readonly ValType[]): readonly { type: ValType; count: number }[] {
  const runs: { type: ValType; count: number }[] = [];
  for (const type of types) {
    const last = runs.at(-1);
    if (last?.type === type) last.count++;
    else runs.push({ type, count: 1 });
  }
  return runs;
}
