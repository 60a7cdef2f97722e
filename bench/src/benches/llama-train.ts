/** One AdamW step of a small LLaMA, f32, jitted with its state donated: the step of bench/peers, at the same sizes. */
import { device, jit, key, memory, optim, type Tensor, tensor, valueAndGrad } from "sinan";
import { llama, type Llama, llamaConfig, loss } from "@sinan/llm";
import { beside, type Figure } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median, times } from "../measure.ts";
import { llamaTrainPeers, ofCase } from "../peers.ts";

const size = { dim: 256, layers: 6, heads: 8, vocab: 4096, seq: 256, batch: 8 } as const;
const steps = 8;

export const cases: Cases = async function* ({ threads, peers, seconds }): AsyncGenerator<Figure> {
  await device("cpu", { options: { threads } });
  const measured = peers ? await llamaTrainPeers(size, steps, threads) : [];
  const adam = optim.adamW({ learningRate: 3e-4 });
  const step = jit(
    ({ state, inputs, targets }: { state: optim.AdamWState<Llama>; inputs: Tensor; targets: Tensor }) => {
      const [value, grads] = valueAndGrad((model: Llama) => loss(model, inputs, targets))(state.model);
      return { value, state: adam.update(state, grads) };
    },
    { donate: ["state"], name: "llamaTrainStep" },
  );
  const ids = (shift: number) =>
    tensor(
      Int32Array.from({ length: size.batch * size.seq }, (_, i) => ((i + shift) * 7919) % size.vocab),
      { shape: [size.batch, size.seq] },
    );
  const [inputs, targets] = [ids(0), ids(1)];
  let state = adam.init(llama(llamaConfig("llama-bench")).init(key(0)));
  const start = performance.now();
  const run = async (): Promise<void> => {
    const out = step({ state, inputs, targets });
    ({ state } = out);
    await out.value.item();
  };
  await run();
  const first = (performance.now() - start) / 1000;
  const taken = median(await times(run, { seconds, warmup: 1, atLeast: 5 }));
  const figure = { bench: "llama-train", device: "cpu-wasm", threads } as const;
  yield* beside(
    { ...figure, case: "step", value: (size.batch * size.seq) / taken, unit: "tokens/s" },
    ofCase(measured, "step"),
  );
  yield { ...figure, case: "first-step", value: first, unit: "s" };
  yield { ...figure, case: "peak", value: memory().peak / 2 ** 20, unit: "MB" };
};
