/** What a small page has no use for: rules of some dtypes, the parts of a kernel that threads share, branches around long sides of
 *  selections, columns of rows that are turned in registers. They are added when the whole package is imported, so that a bundle with `@sinan/cpu/lean` need not hold them. */

import { type DType, type Op, VerifyError } from "sinan/south";
import type { FunctionBody } from "./body.ts";
import type { Lanes, Machine } from "./lanes.ts";
import type { Loop } from "./nest.ts";
import type { Writing } from "./render.ts";
import type { Region, Side, Value, ValueGraph } from "./value.ts";

export interface DTypeRules {
  /** Casts of which one dtype or the other is f16 or bf16; of lanes, undefined where it is done lane by lane. */
  castValue(g: ValueGraph, x: Value, from: DType, to: DType): Value;
  castLanes(machine: Machine, x: Lanes, to: DType): Lanes | undefined;
  /** f32 rounded to a 16-bit float's values. */
  roundLanes(machine: Machine, x: Lanes, dtype: "f16" | "bf16"): Lanes;
  /** An element-wise op on i64; undefined where no rule knows it. */
  wideOp(g: ValueGraph, op: Op, a: Value, b: Value): Value | undefined;
}

/** Writes the parts of a kernel, and gives what calls them in turn (see `parts.ts`). */
type WriteParts = (writing: Writing) => ((body: FunctionBody) => void) | undefined;

/** Finds long sides of selections, and writes them (see `rare.ts`). */
interface Sides {
  mark(used: readonly Value[]): void;
  emit(body: FunctionBody, side: Side, ready: (v: Value) => void): void;
}

/** Reads columns of rows that a loop goes along (see `transpose.ts`). */
interface Columns {
  areRead(loop: Loop): boolean;
  emit(body: FunctionBody, v: Value, region: Region): readonly number[] | undefined;
}

let rules: DTypeRules | undefined;
let parts: WriteParts | undefined;
let sides: Sides | undefined;
let columns: Columns | undefined;

export function addRules(all: DTypeRules, writes: WriteParts, branches: Sides, turned: Columns): void {
  rules = all;
  parts = writes;
  sides = branches;
  columns = turned;
}

/** Undefined where they are left out: a kernel is then one part. */
export const writeParts = (): WriteParts | undefined => parts;

/** Undefined where they are left out: both sides of a selection are computed then. */
export const sideRules = (): Sides | undefined => sides;

/** Undefined where they are left out: lanes of rows are then loaded one by one. */
export const columnRules = (): Columns | undefined => columns;

/** @throws VerifyError where they are left out */
export function rulesOf(dtype: DType): DTypeRules {
  if (rules) return rules;
  throw new VerifyError(`wasm-simd: @sinan/cpu/lean has no ${dtype}`, { hint: 'import "@sinan/cpu" instead' });
}
