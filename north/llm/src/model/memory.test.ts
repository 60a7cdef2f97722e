/** What a training step asks of memory is known before it runs, and can be made to fit a budget without changing a bit. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  device,
  type Fit,
  footprint,
  jit,
  key,
  memory,
  memoryBudget,
  optim,
  OutOfMemoryError,
  random,
  tensor,
  type Tensor,
  tree,
  valueAndGrad,
} from "sinan";
import { deviceNames } from "../../../../tests/devices.ts";
import { llamaConfig } from "../config.ts";
import { type Llama, llama } from "./llama.ts";
import { loss } from "./loss.ts";

const config = llamaConfig("llama-tiny", {
  vocabSize: 96,
  hiddenSize: 32,
  intermediateSize: 64,
  numHiddenLayers: 4,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
  headDim: 8,
  maxPositionEmbeddings: 64,
});
const adam = optim.adamW({ learningRate: 1e-3 });

interface Batch {
  readonly state: optim.AdamWState<Llama>;
  readonly inputs: Tensor;
  readonly targets: Tensor;
}

/** One step on a device of its own: what was foretold, what was measured, and the loss and weights that came out. */
async function trained(name: string, fit?: Fit) {
  await device(name, { options: {} });
  const ids = (seed: number): Tensor =>
    tensor(
      Int32Array.from({ length: 4 * 48 }, (_, i) => (i * 31 + seed * 17) % 96),
      { shape: [4, 48] },
    );
  const step = jit(
    ({ state, inputs, targets }: Batch) => {
      const [value, grads] = valueAndGrad((m: Llama) => loss(m, inputs, targets))(state.model);
      return { state: adam.update(state, grads), value };
    },
    { donate: ["state"], ...(fit ? { fit } : {}) },
  );
  const batch = { state: adam.init(llama(config).init(key(1))), inputs: ids(1), targets: ids(2) };
  for (const { tensor: t } of tree.tensors(batch)) await t.bytes();
  const told = await footprint(step, batch);
  const start = memory().live;
  const { state, value } = step(batch);
  const weights = await Promise.all(tree.tensors(state.model).map(({ tensor: t }) => t.data()));
  return { told, start, peak: memory().peak, loss: await value.item(), weights };
}

for (const name of deviceNames)
  test(`the peak of a LLaMA's step is the one that was told, within a budget and without (${name})`, async () => {
    const free = await trained(name);
    const { argumentBytes, peakBytes, resultBytes, holders } = free.told;
    // State is donated, so the loss is the only new result.
    assert.ok(resultBytes <= 128, String(resultBytes));
    const told = peakBytes - argumentBytes;
    const measured = free.peak - free.start;
    assert.ok(Math.abs(measured / told - 1) < 0.05, `${measured} measured, ${told} told`);
    assert.ok(holders.some(({ kind, bytes }) => kind === "temporary" && bytes >= 4 * 48 * 32 * 4));

    const budget = argumentBytes + 0.75 * told;
    const tight = await trained(name, memoryBudget(budget));
    assert.ok(tight.told.peakBytes <= budget);
    assert.ok(Math.abs((tight.peak - tight.start) / (tight.told.peakBytes - argumentBytes) - 1) < 0.05);
    assert.equal(tight.loss, free.loss);
    tight.weights.forEach((w, i) => {
      const other = free.weights[i] as typeof w;
      // Counted, as a comparison that fails would print them all.
      let differ = 0;
      w.forEach((x: number | bigint, k: number) => (differ += x === other[k] ? 0 : 1));
      assert.equal(differ, 0, `tensor ${i}`);
    });
  });

test("a budget that cannot be kept is refused with the names of the largest", async () => {
  await assert.rejects(trained("interpreter", memoryBudget(2 ** 19)), (error) => {
    assert.ok(error instanceof OutOfMemoryError, String(error));
    assert.match(error.message, /a budget of 0\.5 MiB is not enough: .* it takes \d+\.\d MiB/);
    assert.match(error.message, /0\.\d MiB (argument|temporary) f32\[[\d, ]+\]/);
    return true;
  });
  await assert.rejects(
    footprint(() => random.normal(key(1), [2])),
    /expected what jit\(\) gave/,
  );
});
