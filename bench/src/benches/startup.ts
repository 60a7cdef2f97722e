/** From the import statement to the first result read back, in a process of its own: `result` of the packages as they are
 *  published, `sources` of this repository's, whose types Node strips as it loads them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { buildInto } from "../built.ts";
import { cold } from "../cold.ts";
import type { Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median } from "../measure.ts";

const rounds = 15;
const program = "bench/src/first-result.ts";

export const cases: Cases = async function* ({ threads }): AsyncGenerator<Figure> {
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-startup-"));
  try {
    await buildInto(folder, ["core", "south/cpu"], program);
    const built: number[] = [];
    const sources: number[] = [];
    for (let round = 0; round < rounds; round++) {
      built.push((await cold<{ ms: number }>(path.join(folder, "first-result.js"))).ms);
      sources.push((await cold<{ ms: number }>(program)).ms);
    }
    const figure = { bench: "startup", device: "cpu-wasm", threads, unit: "ms" } as const;
    yield { ...figure, case: "result", value: median(built) };
    yield { ...figure, case: "sources", value: median(sources) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};
