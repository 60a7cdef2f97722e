/** One AdamW step of two LLaMAs, f32, jitted with its state donated: the step of bench/peers, at the same sizes, in turn with PyTorch's; and of
 *  the small one at batches for which jax-js and TensorFlow.js do not have the addresses. First steps and peaks of memory are those of
 *  processes that have one model and nothing else. */
import { cold } from "../cold.ts";
import { beside, type Figure } from "../figure.ts";
import { inTurn, peaks, type Timed } from "../in-turn.ts";
import { llamaCase, type StepSize } from "../llama-step.ts";
import type { Cases } from "../main.ts";
import { llamaTrainPeers, llamaTrainTorches } from "../peer-programs.ts";
import { ofCase } from "../peers.ts";
import { openCpu } from "../processor.ts";

/** 6.9 and 40 million parameters; the names of the cases of the second end in its size. How long each of us steps, for each second that is
 *  asked for, gives whoever takes two seconds for one some seven. */
const models = [
  { suffix: "", size: { dim: 256, layers: 6, heads: 8, vocab: 4096, seq: 256, batch: 8 }, share: 2 },
  { suffix: "-40m", size: { dim: 512, layers: 10, heads: 8, vocab: 8192, seq: 256, batch: 8 }, share: 7 },
] as const;
const largeBatches = [16, 64] as const;
/** A turn is one step, or a few. */
const rounds = 12;
/** For each second asked for, those after which no other round of a model begins. */
const mostOfAll = 45;
/** Of the losses before any step: theirs begins with other weights from like distributions. */
const tolerance = 0.05;

interface Measured {
  readonly first: number;
  readonly taken: number;
  readonly peak: number;
  readonly tensors: number;
}

export const cases: Cases = async function* ({ threads, peers, seconds, quick }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const measure = (size: StepSize, steps: number): Promise<Measured> =>
    cold("bench/src/train-case.ts", JSON.stringify(size), threads, steps);
  const speed = ({ batch, seq }: StepSize, taken: number): number => (batch * seq) / taken;
  const [small] = models;
  for (const { suffix, size, share } of quick ? models.slice(0, 1) : models) {
    const own = await measure(size, 2);
    const inJavaScript = suffix === "" && device === "cpu-wasm";
    const programs = peers && inJavaScript ? await llamaTrainPeers(size, quick ? 3 : 8, threads) : [];
    const asked = { isCompiled: !inJavaScript, isQuick: quick };
    const torches = peers ? await llamaTrainTorches(size, threads, asked) : [];
    const { run, dispose } = await llamaCase(size);
    const loss = await run();
    await run();
    const limits = { seconds: seconds * share, mostSeconds: seconds * mostOfAll, rounds, threads };
    const { ours, theirs } = await inTurn(run, torches, "step", limits);
    dispose();
    compare(loss, theirs);
    const held = await peaks(torches);
    for (const torch of torches) torch.close();
    const figure = { bench: "llama-train", device, threads } as const;
    const step = { ...figure, case: `step${suffix}`, value: speed(size, ours), unit: "tokens/s" } as const;
    const speeds = theirs.map(({ name, version, value }) => ({ name, version, value: speed(size, value) }));
    yield* beside(step, [...speeds, ...ofCase(programs, "step")]);
    yield { ...figure, case: `first-step${suffix}`, value: own.first, unit: "s" };
    // As the peers', the most that the process held, code and all; and what of it were tensors.
    const peak = { ...figure, case: `peak${suffix}`, value: own.peak, unit: "MB" } as const;
    yield* beside(peak, [...held, ...ofCase(programs, "peak")]);
    yield { ...figure, case: `peak-tensors${suffix}`, value: own.tensors, unit: "MB" };
  }
  for (const batch of quick ? [] : largeBatches) {
    const size = { ...small.size, batch };
    const { taken } = await measure(size, 2);
    yield {
      bench: "llama-train",
      device,
      threads,
      case: `batch-${batch}`,
      value: speed(size, taken),
      unit: "tokens/s",
    };
  }
};

/** Says where a peer computes something else. */
function compare(loss: number, theirs: Timed["theirs"]): void {
  for (const { name, check } of theirs)
    if (!(Math.abs(check - loss) <= tolerance * loss))
      console.error(`llama-train: the first loss is ${loss}, that of ${name} ${check}`);
}
