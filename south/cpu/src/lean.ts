/** The CPU for small pages: one thread with one memory of 4 GB; no f16, bf16, i64 or quantised weights, and no arithmetic in integers of 8
 *  and 16 bits; softmax and norms in several kernels instead of one. Importing it, instead of `@sinan/cpu`, registers the driver "cpu"
 *  and the code generator "wasm-simd". Its numbers are those of the whole package. */

import { register } from "sinan/south";
import { driverOf } from "./driver.ts";
import { wasmCodegen } from "./wasm/render.ts";

/** The processor, with one thread and one memory. */
const cpuDriver = driverOf();

register({ driver: cpuDriver }, { codegen: wasmCodegen });

export { cpuDriver, wasmCodegen };
