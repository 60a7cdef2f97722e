/** A training step of a small model with a vocabulary of 32,000, f32, AdamW, with all logits at once and in chunks of positions: the
 *  most memory that the compiled step has at a time, and how long it takes, step by step in turn. */
import { footprint, jit, key, optim, tensor, type Tensor, valueAndGrad } from "sinan";
import { llama, type Llama, llamaConfig, loss, type LossOptions } from "@sinan/llm";
import type { Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median } from "../measure.ts";
import { openCpu } from "../processor.ts";

const [time, batch, vocabSize] = [256, 4, 32_000] as const;
const config = llamaConfig("llama-bench", { vocabSize });
const adam = optim.adamW({ learningRate: 3e-4 });

export const cases: Cases = async function* ({ threads, seconds, quick }): AsyncGenerator<Figure> {
  const device = await openCpu(threads);
  const figure = { bench: "chunked-loss", device, threads } as const;
  const runs = [stepsOf({}), stepsOf({ chunk: false })] as const;
  const peaks = await Promise.all(runs.map((run) => run.peak()));
  // In turn, so that what else the machine does is shared; the first of each compile.
  const end = performance.now() + seconds * 1000;
  for (let i = 0; i < (quick ? 2 : 6) || performance.now() < end; i++) for (const run of runs) await run.step();
  const [chunked, whole] = runs.map(({ seconds: [, ...taken] }) => median(taken)) as [number, number];
  const [small = 0, large = 0] = peaks;
  yield { ...figure, case: "peak-chunked", value: small / 2 ** 20, unit: "MB" };
  yield { ...figure, case: "peak-whole", value: large / 2 ** 20, unit: "MB" };
  yield { ...figure, case: "peak-ratio", value: small / large, unit: "x" };
  yield { ...figure, case: "step-chunked", value: chunked * 1000, unit: "ms" };
  yield { ...figure, case: "step-whole", value: whole * 1000, unit: "ms" };
  yield { ...figure, case: "step-ratio", value: chunked / whole, unit: "x" };
};

interface Input {
  readonly state: optim.AdamWState<Llama>;
  readonly ids: Tensor;
  readonly targets: Tensor;
}

function stepsOf(options: LossOptions) {
  const run = jit(
    ({ state, ids, targets }: Input) => {
      const [value, grads] = valueAndGrad((model: Llama) => loss(model, ids, targets, undefined, options))(state.model);
      return { value, state: adam.update(state, grads) };
    },
    { donate: ["state"] },
  );
  const some = (seed: number): Tensor =>
    tensor(
      Int32Array.from({ length: batch * time }, (_, i) => ((i + seed) * 7919) % vocabSize),
      { shape: [batch, time] },
    );
  const [ids, targets] = [some(0), some(1)];
  let state = adam.init(llama(config).init(key(0)));
  const seconds: number[] = [];
  return {
    seconds,
    peak: async (): Promise<number> => (await footprint(run, { state, ids, targets })).peakBytes,
    async step(): Promise<void> {
      const start = performance.now();
      const out = run({ state, ids, targets });
      ({ state } = out);
      await out.value.item();
      seconds.push((performance.now() - start) / 1000);
    },
  };
}
