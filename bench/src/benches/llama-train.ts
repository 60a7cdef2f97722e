/** One AdamW step of a small LLaMA, f32, jitted with its state donated: the step of bench/peers, at the same sizes; and at batches
 *  for which jax-js and TensorFlow.js do not have the addresses. */
import process from "node:process";
import { device, memory } from "sinan";
import { beside, type Figure } from "../figure.ts";
import { llamaStep } from "../llama-step.ts";
import type { Cases } from "../main.ts";
import { median, times } from "../measure.ts";
import { llamaTrainPeers, ofCase } from "../peers.ts";

const size = { dim: 256, layers: 6, heads: 8, vocab: 4096, seq: 256, batch: 8 } as const;
const steps = 8;
const largeBatches = [16, 64] as const;

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
  // As the peers', the most that the process held, code and all; and what of it were tensors.
  yield* beside(
    { ...figure, case: "peak", value: process.resourceUsage().maxRSS / 1024, unit: "MB" },
    ofCase(measured, "peak"),
  );
  yield { ...figure, case: "peak-tensors", value: memory().peak / 2 ** 20, unit: "MB" };
  for (const batch of largeBatches) {
    const large = await llamaStep({ ...size, batch });
    const taken = median(await times(large, { seconds: 0, warmup: 1, atLeast: 2 }));
    yield { ...figure, case: `batch-${batch}`, value: (batch * size.seq) / taken, unit: "tokens/s" };
  }
};
