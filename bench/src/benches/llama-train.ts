/** One AdamW step of two LLaMAs, f32, jitted with its state donated: the step of bench/peers, at the same sizes; and of the small one
 *  at batches for which jax-js and TensorFlow.js do not have the addresses. Each model in a process of its own. */
import { cold } from "../cold.ts";
import { beside, type Figure } from "../figure.ts";
import type { StepSize } from "../llama-step.ts";
import type { Cases } from "../main.ts";
import { llamaTrainPeers } from "../peer-programs.ts";
import { ofCase } from "../peers.ts";
import type { Tier } from "../processor.ts";

/** 6.9 and 40 million parameters; the names of the cases of the second end in its size. */
const models = [
  { suffix: "", size: { dim: 256, layers: 6, heads: 8, vocab: 4096, seq: 256, batch: 8 }, steps: 8 },
  { suffix: "-40m", size: { dim: 512, layers: 10, heads: 8, vocab: 8192, seq: 256, batch: 8 }, steps: 5 },
] as const;
const largeBatches = [16, 64] as const;

interface Measured {
  readonly device: Tier;
  readonly first: number;
  readonly taken: number;
  readonly peak: number;
  readonly tensors: number;
}

export const cases: Cases = async function* ({ threads, peers, seconds, quick }): AsyncGenerator<Figure> {
  const measure = (size: StepSize, atLeast: number, during = 0): Promise<Measured> =>
    cold("bench/src/train-case.ts", JSON.stringify(size), threads, during, atLeast);
  const speed = ({ batch, seq }: StepSize, { taken }: Measured): number => (batch * seq) / taken;
  const [small] = models;
  for (const { suffix, size, steps } of quick ? models.slice(0, 1) : models) {
    const own = await measure(size, quick ? 2 : 5, seconds);
    const options = { inJavaScript: suffix === "" && own.device === "cpu-wasm", isQuick: quick };
    const measured = peers ? await llamaTrainPeers(size, quick ? 3 : steps, threads, options) : [];
    const figure = { bench: "llama-train", device: own.device, threads } as const;
    yield* beside(
      { ...figure, case: `step${suffix}`, value: speed(size, own), unit: "tokens/s" },
      ofCase(measured, "step"),
    );
    yield { ...figure, case: `first-step${suffix}`, value: own.first, unit: "s" };
    // As the peers', the most that the process held, code and all; and what of it were tensors.
    yield* beside({ ...figure, case: `peak${suffix}`, value: own.peak, unit: "MB" }, ofCase(measured, "peak"));
    yield { ...figure, case: `peak-tensors${suffix}`, value: own.tensors, unit: "MB" };
  }
  for (const batch of quick ? [] : largeBatches) {
    const size = { ...small.size, batch };
    const own = await measure(size, 2);
    yield {
      bench: "llama-train",
      device: own.device,
      threads,
      case: `batch-${batch}`,
      value: speed(size, own),
      unit: "tokens/s",
    };
  }
};
