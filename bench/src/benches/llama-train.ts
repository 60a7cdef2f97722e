/** One AdamW step of a small LLaMA, f32, jitted with its state donated: the step of bench/peers, at the same sizes. */
import { device, memory } from "sinan";
import { beside, type Figure } from "../figure.ts";
import { llamaStep } from "../llama-step.ts";
import type { Cases } from "../main.ts";
import { median, times } from "../measure.ts";
import { llamaTrainPeers, ofCase } from "../peers.ts";

const size = { dim: 256, layers: 6, heads: 8, vocab: 4096, seq: 256, batch: 8 } as const;
const steps = 8;

export const cases: Cases = async function* ({ threads, peers, seconds }): AsyncGenerator<Figure> {
  await device("cpu", { options: { threads } });
  const measured = peers ? await llamaTrainPeers(size, steps, threads) : [];
  const step = await llamaStep(size);
  const start = performance.now();
  await step();
  const first = (performance.now() - start) / 1000;
  const taken = median(await times(step, { seconds, warmup: 1, atLeast: 5 }));
  const figure = { bench: "llama-train", device: "cpu-wasm", threads } as const;
  yield* beside(
    { ...figure, case: "step", value: (size.batch * size.seq) / taken, unit: "tokens/s" },
    ofCase(measured, "step"),
  );
  yield { ...figure, case: "first-step", value: first, unit: "s" };
  yield { ...figure, case: "peak", value: memory().peak / 2 ** 20, unit: "MB" };
};
