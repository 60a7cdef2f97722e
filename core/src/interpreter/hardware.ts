/** What the interpreter is as a device; others that run whole groups by it say what they have otherwise. */
import type { HardwareModel } from "../runtime/hardware.ts";

/** One scalar unit of doubles, and memory that is the host's. */
export const graphHardware: HardwareModel = {
  id: "interpreter",
  driver: "interpreter",
  kind: "interpreter",
  vendor: "sinan",
  available: true,
  codegens: ["sinan-ir"],
  dtypes: {
    bool: "native",
    u8: "emulated",
    i8: "emulated",
    u16: "emulated",
    i16: "emulated",
    i32: "native",
    u32: "native",
    i64: "emulated",
    f16: "emulated",
    bf16: "emulated",
    f32: "native",
    f64: "native",
    q8_0: "emulated",
    q4_0: "emulated",
    q4_k: "emulated",
  },
  compute: [{ unit: "scalar", dtype: "f64", lanes: 1 }],
  memory: [{ name: "host", bytes: 2 ** 34 }],
  unified: true,
  features: [],
  limits: { alignment: 64, maxBuffers: 1024, maxBytes: 2 ** 32, vectorRegisters: 0, aliasing: true },
};
