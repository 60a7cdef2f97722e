/** The largest error of each function, in units in the last place: of those of one argument over every f32 there is, against
 *  doubles; of `pow` over pairs drawn at random. `--threads` are how many of them sweep; each computes with one. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { functions } from "../accuracy/functions.ts";
import { powPairs, worstPower } from "../accuracy/power.ts";
import { none, type Worst, worse } from "../accuracy/sweep.ts";
import type { Part } from "../accuracy/worker.ts";
import type { Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { openCpu } from "../processor.ts";

/** Bits of f32 that a worker sweeps at a time. */
const part = 2 ** 25;
const everyF32 = 2 ** 32;
const pairs = 2 ** 26;

export const cases: Cases = async function* ({ threads }): AsyncGenerator<Figure> {
  const workers = Array.from({ length: threads }, () => new Worker(new URL("../accuracy/worker.ts", import.meta.url)));
  const device = await openCpu(threads);
  const common = { bench: "accuracy", device, threads: 1, unit: "ulp" } as const;
  try {
    for (const name of Object.keys(functions)) {
      const { error, at } = await swept(workers, name);
      yield { ...common, case: name, value: error, note: `at ${at.join(", ")}` };
    }
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  const { error, at } = await worstPower(powPairs(1), pairs);
  yield { ...common, case: "pow", value: error, note: `at ${at.join(", ")}; ${pairs} pairs` };
};

/** Each worker takes the next part when it is done with its last. */
async function swept(workers: readonly Worker[], name: string): Promise<Worst> {
  let [next, found] = [0, none];
  await Promise.all(
    workers.map(async (worker) => {
      while (next < everyF32) {
        const begin = next;
        next += part;
        const answer = once(worker, "message");
        worker.postMessage({ name, begin, end: next } satisfies Part, []);
        const [worst] = (await answer) as [Worst];
        found = worse(found, worst);
      }
    }),
  );
  return found;
}
