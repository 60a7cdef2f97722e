/** What the first step of a LLaMA costs, each in a process of its own: `first-step` whole at the sizes of `llama-train`; `layers-6`
 *  and `layers-48` without a step's own time, for models whose step is short; `ratio` of these two. */
import { cold } from "../cold.ts";
import type { Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median } from "../measure.ts";
import type { Tier } from "../processor.ts";

const rounds = 3;

interface Timed {
  readonly device: Tier;
  readonly first: number;
  readonly later: number;
}

export const cases: Cases = async function* ({ threads }): AsyncGenerator<Figure> {
  const measure = (layers: number, seq: number, batch: number): Promise<Timed> =>
    cold("bench/src/first-step.ts", layers, seq, batch, threads);
  const whole: Timed[] = [];
  const added = new Map<number, number[]>([
    [6, []],
    [48, []],
  ]);
  for (let round = 0; round < rounds; round++) {
    whole.push(await measure(6, 256, 8));
    for (const [layers, taken] of added) {
      const { first, later } = await measure(layers, 32, 1);
      taken.push(first - later);
    }
  }
  const figure = { bench: "compile", device: whole[0]?.device ?? "cpu", threads, unit: "s" } as const;
  yield { ...figure, case: "first-step", value: median(whole.map(({ first }) => first)) };
  for (const [layers, taken] of added) yield { ...figure, case: `layers-${layers}`, value: median(taken) };
  yield { ...figure, case: "ratio", value: median(added.get(48) ?? []) / median(added.get(6) ?? []), unit: "x" };
};
