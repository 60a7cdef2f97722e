/** The types of C for values of each dtype. */
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
