/** How a program begins in the native tier, each in a process of its own: until the training step of `llama-train` is ready with an empty cache
 *  (`build`) and with a full one (`cached`), and until its first call is done (`-first-step`); `layers-6` and `layers-48`, with an empty cache, of models
 *  whose step is short, and their `ratio`. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { coldIn } from "../cold.ts";
import type { Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median } from "../measure.ts";
import type { Tier } from "../processor.ts";

interface Timed {
  readonly device: Tier;
  readonly ready: number;
  readonly first: number;
}

export const cases: Cases = async function* ({ threads, quick }): AsyncGenerator<Figure> {
  const measure = (cache: string, ...sizes: readonly [layers: number, seq: number, batch: number]): Promise<Timed> =>
    coldIn(
      { SINAN_CPU: "native", SINAN_CACHE: cache, SINAN_CACHE_MB: "" },
      "bench/src/first-ready.ts",
      ...sizes,
      threads,
    );
  const taken = new Map<string, Timed[]>();
  const keep = (name: string, timed: Timed): void => void taken.set(name, [...(taken.get(name) ?? []), timed]);
  for (let round = 0; round < (quick ? 1 : 3); round++) {
    const folder = mkdtempSync(path.join(tmpdir(), "sinan-native-start-"));
    const [whole, few, many] = ["whole", "few", "many"].map((name) => path.join(folder, name)) as [
      string,
      string,
      string,
    ];
    try {
      keep("build", await measure(whole, 6, 256, 8));
      for (let again = 0; again < 3; again++) keep("cached", await measure(whole, 6, 256, 8));
      keep("layers-6", await measure(few, 6, 32, 1));
      keep("layers-48", await measure(many, 48, 32, 1));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  const of = (name: string, what: (timed: Timed) => number): number => median((taken.get(name) ?? []).map(what));
  const ready = (name: string): number => of(name, (timed) => timed.ready);
  const figure = { bench: "native-start", device: "cpu-native", threads, unit: "s" } as const;
  for (const name of ["build", "cached"]) {
    yield { ...figure, case: name, value: ready(name) };
    yield { ...figure, case: `${name}-first-step`, value: of(name, (timed) => timed.first) };
  }
  for (const name of ["layers-6", "layers-48"]) yield { ...figure, case: name, value: ready(name) };
  yield { ...figure, case: "ratio", value: ready("layers-48") / ready("layers-6"), unit: "x" };
};
