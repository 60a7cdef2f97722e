/** The rules of dtypes that a small page has no use for. They are added when the whole package is imported, so that a bundle with
 *  `@sinan/cpu/lean` need not hold them. */

import { type DType, type Op, VerifyError } from "sinan/south";
import type { Lanes, Machine } from "./lanes.ts";
import type { Value, ValueGraph } from "./value.ts";

export interface DTypeRules {
  /** Casts of which one dtype or the other is f16 or bf16; of lanes, undefined where it is done lane by lane. */
  castValue(g: ValueGraph, x: Value, from: DType, to: DType): Value;
  castLanes(machine: Machine, x: Lanes, to: DType): Lanes | undefined;
  /** f32 rounded to a 16-bit float's values. */
  roundLanes(machine: Machine, x: Lanes, dtype: "f16" | "bf16"): Lanes;
  /** An element-wise op on i64; undefined where no rule knows it. */
  wideOp(g: ValueGraph, op: Op, a: Value, b: Value): Value | undefined;
}

let rules: DTypeRules | undefined;

export function addRules(all: DTypeRules): void {
  rules = all;
}

/** @throws VerifyError where they are left out */
export function rulesOf(dtype: DType): DTypeRules {
  if (rules) return rules;
  throw new VerifyError(`wasm-simd: @sinan/cpu/lean has no ${dtype}`, { hint: 'import "@sinan/cpu" instead' });
}
