/** What a kernel computes as a graph of machine values: one value is one WebAssembly instruction, interned so that equal
 *  ones are computed once, and placed in the outermost loop where everything it needs is known. */

import type { OpName, ValType } from "./opcodes.ts";
import { opcodes } from "./opcodes.ts";

/** A straight piece of code: the whole nest, or the body of one loop in it. */
export interface Region {
  readonly depth: number;
  readonly parent: Region | undefined;
  /** Pointers and counters that advance by a constant at the end of each iteration. */
  readonly inductions: Value[];
  /** Values of the parent that the code in here reads; filled by `countUses`. */
  readonly needs: Set<Value>;
}

type Immediate = number | readonly number[];

export interface Value {
  readonly id: number;
  readonly kind: "const" | "param" | "op" | "select" | "call" | "induction" | "accumulator";
  readonly op: OpName | undefined;
  readonly type: ValType;
  readonly args: readonly Value[];
  readonly immediates: readonly Immediate[];
  readonly region: Region;
  /** Of a constant. */
  readonly constant?: number | bigint | readonly number[];
  /** Of a call. */
  readonly callee?: string;
  /** A load of memory that the same loop writes: it stays where it stands. */
  readonly pinned?: true;
  /** Filled while uses are counted and code is emitted: how often it is still read, whether by an inner loop, whether it is
   *  kept in a local, and in which one. */
  uses: number;
  escapes: boolean;
  kept: boolean;
  local: number | undefined;
  /** The side of selections of which it is a result, where that is computed by itself. */
  side?: Side;
}

/** Results that selections by one condition read as their first or their second `operand`, computed only where that is wanted;
 *  and what must be there before. */
export interface Side {
  readonly condition: Value;
  readonly operand: 0 | 1;
  readonly results: readonly Value[];
  readonly needs: readonly Value[];
}

export const deeper = (a: Region, b: Region): Region => (a.depth >= b.depth ? a : b);

/** The number that an i32 value always is, if it is always the same. */
export const constantOf = (v: Value): number | undefined =>
  v.kind === "const" && v.type === "i32" ? (v.constant as number) : undefined;

const folds: { readonly [name: string]: (a: number, b: number) => number } = {
  "i32.add": (a, b) => a + b,
  "i32.sub": (a, b) => a - b,
  "i32.mul": Math.imul,
  "i32.and": (a, b) => a & b,
  "i32.or": (a, b) => a | b,
  "i32.xor": (a, b) => a ^ b,
  "i32.shl": (a, b) => a << b,
  "i32.shr_s": (a, b) => a >> b,
  "i32.shr_u": (a, b) => a >>> b,
  "i32.eq": (a, b) => Number(a === b),
  "i32.ne": (a, b) => Number(a !== b),
  "i32.lt_s": (a, b) => Number(a < b),
  "i32.gt_s": (a, b) => Number(a > b),
  "i32.lt_u": (a, b) => Number(a >>> 0 < b >>> 0),
};

const neutral: { readonly [name: string]: number } = {
  "i32.add": 0,
  "i32.sub": 0,
  "i32.mul": 1,
  "i32.and": -1,
  "i32.or": 0,
  "i32.xor": 0,
  "i32.shl": 0,
  "i32.shr_s": 0,
  "i32.shr_u": 0,
};

const commutes = new Set(["i32.add", "i32.mul", "i32.and", "i32.or", "i32.xor", "i32.eq", "i32.ne"]);

const splats: { readonly [name: string]: OpName } = {
  "f32.load": "v128.load32_splat",
  "i32.load": "v128.load32_splat",
  "f64.load": "v128.load64_splat",
  "i64.load": "v128.load64_splat",
};

const scratch = new DataView(new ArrayBuffer(8));
const bytesOf = (set: (view: DataView) => void, count: number): number[] => {
  set(scratch);
  return Array.from({ length: count }, (_, i) => scratch.getUint8(i));
};

export class ValueGraph {
  readonly root: Region;
  /** The imported functions that are called. */
  readonly callees = new Set<string>();
  /** By the id of their range. */
  readonly outers = new Map<number, Value>();
  readonly #interned = new Map<string, Value>();
  #next = 0;

  constructor() {
    this.root = newRegion(undefined);
  }

  #make(key: string | undefined, fields: Pick<Value, "kind" | "type"> & Partial<Value>): Value {
    const known = key === undefined ? undefined : this.#interned.get(key);
    if (known) return known;
    const args = fields.args ?? [];
    const value: Value = {
      op: undefined,
      args,
      immediates: [],
      region: args.reduce((r, a) => deeper(r, a.region), this.root),
      uses: 0,
      escapes: false,
      kept: false,
      local: undefined,
      ...fields,
      id: this.#next++,
    };
    if (key !== undefined) this.#interned.set(key, value);
    return value;
  }

  i32(value: number): Value {
    return this.#make(`i32 ${value | 0}`, { kind: "const", type: "i32", constant: value | 0 });
  }

  i64(value: bigint): Value {
    return this.#make(`i64 ${value}`, { kind: "const", type: "i64", constant: BigInt.asIntN(64, value) });
  }

  f32(value: number): Value {
    const x = Math.fround(value);
    return this.#make(`f32 ${Object.is(x, -0) ? "-0" : x}`, { kind: "const", type: "f32", constant: x });
  }

  f64(value: number): Value {
    return this.#make(`f64 ${Object.is(value, -0) ? "-0" : value}`, { kind: "const", type: "f64", constant: value });
  }

  v128(bytes: readonly number[]): Value {
    return this.#make(`v128 ${bytes.join()}`, { kind: "const", type: "v128", constant: bytes });
  }

  /** Four lanes of 32 bits, or two of 64. */
  i32x4(lanes: readonly number[]): Value {
    return this.v128(lanes.flatMap((lane) => bytesOf((view) => view.setInt32(0, lane, true), 4)));
  }

  i64x2(lanes: readonly bigint[]): Value {
    return this.v128(lanes.flatMap((lane) => bytesOf((view) => view.setBigInt64(0, lane, true), 8)));
  }

  param(local: number, type: ValType): Value {
    return this.#make(`param ${local}`, { kind: "param", type, local });
  }

  /** The number of an iteration of a loop around the whole nest; whoever emits that loop sets the local. */
  outer(id: number): Value {
    const value = this.#make(`outer ${id}`, { kind: "param", type: "i32" });
    this.outers.set(id, value);
    return value;
  }

  select(a: Value, b: Value, condition: Value): Value {
    const known = constantOf(condition);
    if (known !== undefined) return known !== 0 ? a : b;
    if (a === b) return a;
    return this.#make(`select ${a.id} ${b.id} ${condition.id}`, {
      kind: "select",
      type: a.type,
      args: [a, b, condition],
    });
  }

  /** A call of an imported function on doubles. */
  call(callee: string, ...args: readonly Value[]): Value {
    this.callees.add(callee);
    return this.#make(`call ${callee} ${args.map((a) => a.id).join()}`, { kind: "call", type: "f64", args, callee });
  }

  /** `init` when the loop begins, `step` more in each further iteration. `init` is known outside of the loop. */
  induction(region: Region, init: Value, step: number): Value {
    const key = `induction ${regionId(region)} ${init.id} ${step}`;
    const known = this.#interned.get(key);
    if (known) return known;
    const made = this.#make(key, { kind: "induction", type: "i32", args: [init], immediates: [step], region });
    region.inductions.push(made);
    return made;
  }

  /** A local that the loop changes; read in `region` and below. */
  accumulator(type: ValType, region: Region): Value {
    return this.#make(undefined, { kind: "accumulator", type, region });
  }

  /** A load that must stay where it is, as the loop also stores to its buffer. */
  loadHere(op: OpName, address: Value, place: readonly number[], region: Region): Value {
    const type = opcodes[op].results[0] ?? "i32";
    return this.#make(undefined, { kind: "op", op, type, args: [address], immediates: place, region, pinned: true });
  }

  op(name: OpName, args: readonly Value[], ...immediates: readonly Immediate[]): Value {
    const folded = this.#fold(name, args);
    if (folded) return folded;
    let key = name as string;
    for (const a of args) key += ` ${a.id}`;
    for (const i of immediates) key += ` #${i}`;
    return this.#op(key, name, args, immediates);
  }

  #op(key: string | undefined, op: OpName, args: readonly Value[], immediates: readonly Immediate[]): Value {
    return this.#make(key, { kind: "op", op, type: opcodes[op].results[0] ?? "i32", args, immediates });
  }

  #fold(name: OpName, args: readonly Value[]): Value | undefined {
    const [a, b] = args;
    if (!a) return undefined;
    const left = constantOf(a);
    if (name === "i32.eqz" && left !== undefined) return this.i32(Number(left === 0));
    const splat = a.op && !a.pinned && name.endsWith(".splat") ? splats[a.op] : undefined;
    if (splat) return this.op(splat, a.args, ...a.immediates);
    if (a.kind === "const" && name.endsWith(".splat")) return this.#splatConstant(a);
    const fold = folds[name];
    if (!fold || !b) return undefined;
    const right = constantOf(b);
    if (left !== undefined && right !== undefined) return this.i32(fold(left, right));
    if (left !== undefined && commutes.has(name)) return this.op(name, [b, a]);
    if (right === undefined) return undefined;
    if (right === neutral[name]) return a;
    if (right === 0 && (name === "i32.mul" || name === "i32.and")) return b;
    if (name === "i32.sub") return this.op("i32.add", [a, this.i32(-right)]);
    const [first, second] = a.args;
    const inner = second && constantOf(second);
    if (name === "i32.add" && a.op === "i32.add" && first && inner !== undefined)
      return this.op("i32.add", [first, this.i32(inner + right)]);
    return undefined;
  }

  #splatConstant(a: Value): Value {
    switch (a.type) {
      case "i32":
        return this.i32x4(new Array<number>(4).fill(a.constant as number));
      case "i64":
        return this.i64x2(new Array<bigint>(2).fill(a.constant as bigint));
      case "f32": {
        const one = bytesOf((view) => view.setFloat32(0, a.constant as number, true), 4);
        return this.v128([...one, ...one, ...one, ...one]);
      }
      case "f64": {
        const one = bytesOf((view) => view.setFloat64(0, a.constant as number, true), 8);
        return this.v128([...one, ...one]);
      }
      case "v128":
        return a;
      default:
        return a.type satisfies never;
    }
  }
}

const regionIds = new WeakMap<Region, number>();
let regions = 0;

const regionId = (region: Region): number => regionIds.get(region) ?? 0;

export function newRegion(parent: Region | undefined): Region {
  const region = { depth: parent ? parent.depth + 1 : 0, parent, inductions: [], needs: new Set<Value>() };
  regionIds.set(region, ++regions);
  return region;
}
