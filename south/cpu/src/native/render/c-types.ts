/** The types of C for values of each dtype, and the arguments of its helpers. */
import type { DType } from "sinan/south";

export const types: Readonly<Partial<Record<DType, string>>> = {
  bool: "bool",
  u8: "uint8_t",
  i8: "int8_t",
  u16: "uint16_t",
  i16: "int16_t",
  i32: "int32_t",
  u32: "uint32_t",
  i64: "int64_t",
  f16: "uint16_t",
  bf16: "uint16_t",
  f32: "float",
  f64: "double",
};

const ternary: ReadonlySet<string> = new Set(["fma"]);
const binary: ReadonlySet<string> = new Set([
  "max",
  "min",
  "maxNumber",
  "minNumber",
  "scale",
  "idiv",
  "mod",
  "pow",
  "shl",
  "shr",
]);

/** The names of the arguments of an op's helper. */
export const parametersOf = (op: string): readonly string[] =>
  ternary.has(op) ? ["a", "b", "c"] : binary.has(op) ? ["a", "b"] : ["a"];
