/** The CPU for Sinan. Importing it registers the driver "cpu" and the code generator "wasm-simd". */

import { computeNarrow, fuseRows, tightenGroups, orderLoops, register, shareLoops } from "sinan/south";
import { recallModules } from "sinan/recall";
import { driverOf } from "./driver.ts";
import { parts } from "./options.ts";
import { writeParts } from "./wasm/parts.ts";
import { emitSide, markSides } from "./wasm/rare.ts";
import { wasmCodegen as kernelCodegen } from "./wasm/render.ts";
import { addRules } from "./wasm/rules.ts";
import { castShort, castShortLanes, roundLanes } from "./wasm/shorts.ts";
import { emitColumns, readsColumns } from "./wasm/transpose.ts";
import { wideOp } from "./wasm/wide-ops.ts";

/** The processor this runs on. `open` takes `{ threads }`, how many of them share the loops of large kernels (all that the
 *  machine runs at once, if neither this nor the environment variable `SINAN_THREADS` says less), `{ grain }`, about how
 *  many operations make it worth while to share a loop, `{ arenaBytes }`, the most bytes of one of its memories, and
 *  `{ shared: false }` for memories that no other thread can be given, as a page without cross-origin isolation has them: then
 *  there is one thread. In a page the workers are made of their program's text; where its content-security policy forbids that,
 *  the calling thread does all work, unless `{ worker }` is the address of a script that was bundled from `@sinan/cpu/worker`. */
const cpuDriver = driverOf(parts);

/** Kernels as WebAssembly. */
const wasmCodegen = { ...kernelCodegen, share: shareLoops };

addRules(
  { castValue: castShort, castLanes: castShortLanes, roundLanes, wideOp },
  writeParts,
  {
    mark: markSides,
    emit: emitSide,
  },
  { areRead: readsColumns, emit: emitColumns },
);
computeNarrow();
fuseRows();
tightenGroups();
orderLoops();
recallModules();
register({ driver: cpuDriver }, { codegen: wasmCodegen });

export { cpuDriver, wasmCodegen };
