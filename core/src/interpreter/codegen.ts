/** The code that the interpreter and the simulated device take: a fusion group at the tensor level, as text. */
import { print } from "../ir/print.ts";
import type { Codegen } from "../runtime/driver.ts";

/** Runs a fusion group node by node: the code generator of devices that have none of their own. */
export const graphCodegen: Codegen = {
  name: "sinan-ir",
  level: "graph",
  render: (fn) => ({ codegen: "sinan-ir", name: fn.name, code: print(fn), scratchBytes: 0 }),
};
