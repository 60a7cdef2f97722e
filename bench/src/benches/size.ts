/** What a page downloads for a small network that trains on the WebAssembly tier: `examples/mlp.ts` as one file, in KB of gzip. */
import { bundle } from "../bundle.ts";
import type { Figure } from "../figure.ts";
import type { Cases } from "../main.ts";

export const cases: Cases = async function* (): AsyncGenerator<Figure> {
  const { gzipBytes } = await bundle("examples/mlp.ts");
  yield { bench: "size", case: "mlp", device: "cpu-wasm", threads: 1, value: gzipBytes / 1024, unit: "KB" };
};
