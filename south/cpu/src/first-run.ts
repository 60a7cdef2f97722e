/** The parts of a kernel by what its code generator wrote about them, and the first run of one. An engine has quickly made code at
 *  first, several times slower than its best; it changes to that where a function is called, not while it runs. */

import type { Kernel, Launch, Parts } from "./kernels.ts";
import { partsSection } from "./wasm/parts.ts";

/** Code about which nothing was written is one part of its own. */
export function partsOf(kernel: Kernel): Parts {
  if (kernel.parts) return kernel.parts;
  const [section] = WebAssembly.Module.customSections(kernel.module, partsSection);
  const written = section ? (JSON.parse(new TextDecoder().decode(section)) as readonly [number, number][]) : [[1, 0]];
  const all = written.map(([extent = 1, work = 0]) => ({ extent, work }));
  return (kernel.parts = { all, work: all.reduce((sum, part) => sum + part.work, 0) });
}

/** A first run of so many operations takes long. */
const long = 1e6;
/** How often in each part the engine may change to better code. */
const slices = 16;

/** Runs a kernel slice by slice, where that is worth while. */
export function runFirst({ executable, instance, args }: Launch): void {
  const { all, work } = partsOf(executable.kernel);
  if (work < long || !("part0" in instance.exports)) return instance.run(...args);
  for (const [i, { extent }] of all.entries()) {
    const run = instance.exports[`part${i}`] as Launch["instance"]["run"];
    const count = Math.min(slices, extent);
    const cut = (n: number): number => Math.floor((n * extent) / count);
    for (let n = 0; n < count; n++) run(...args, cut(n), cut(n + 1));
  }
}
