/** Benches that give their peers files: in a temporary folder, which goes with the bench, however it ends. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Figure } from "./figure.ts";
import type { Cases, Options } from "./main.ts";

/** The cases of a bench that is given such a folder. */
export const inFolder = (measured: (folder: string, options: Options) => AsyncIterable<Figure>): Cases =>
  async function* (options): AsyncGenerator<Figure> {
    const folder = mkdtempSync(path.join(tmpdir(), "sinan-bench-"));
    try {
      yield* measured(folder, options);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };
