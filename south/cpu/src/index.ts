/** The CPU for Sinan. Importing it registers the driver "cpu" and the code generator "wasm-simd". */

import { register } from "sinan/south";
import { cpuDriver } from "./driver.ts";
import { wasmCodegen } from "./wasm/render.ts";

register({ driver: cpuDriver }, { codegen: wasmCodegen });

export { cpuDriver, wasmCodegen };
