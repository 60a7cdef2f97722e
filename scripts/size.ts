/** The bar on the size of a small program, part of `npm run check`: `examples/mlp.ts` with the WebAssembly tier, as gzip makes
 *  it. When it is missed, the largest modules are named: a family of ops that a small network does not use belongs into modules
 *  that register themselves when they are imported. */
import process from "node:process";
import { barBytes, bundle } from "../bench/src/bundle.ts";

const shown = 24;

const { gzipBytes, bytes, modules } = await bundle("examples/mlp.ts");
const whole = await bundle("examples/mlp.ts", "@sinan/cpu");
const kilobytes = (n: number): string => (n / 1024).toFixed(1);
console.log(
  `examples/mlp.ts: ${kilobytes(gzipBytes)} KB gzip (bar ${kilobytes(barBytes)}), ${kilobytes(bytes)} KB in ${modules.length} modules; with all of @sinan/cpu ${kilobytes(whole.gzipBytes)} KB gzip`,
);
if (gzipBytes > barBytes) {
  console.error("too large; its largest modules, in KB before gzip:");
  for (const [file, size] of modules.slice(0, shown)) console.error(`  ${kilobytes(size).padStart(5)}  ${file}`);
  process.exit(1);
}
