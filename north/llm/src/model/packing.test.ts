/** Documents packed into rows with masks between them train the same model as one document a row, padded: losses, gradient norms and every
 *  gradient, step by step; and what stands beside a document changes nothing. */
import assert from "node:assert/strict";
import test from "node:test";
import { data, device, jit, key, optim, type Tensor, tensor, tree, valueAndGrad } from "sinan";
import { llamaConfig } from "../config.ts";
import { type Llama, llama } from "./llama.ts";
import { loss } from "./loss.ts";

const [sequence, rows, vocabSize, steps] = [48, 3, 64, 12] as const;

/** Mostly short, some as long as a row, one longer. */
const documents = Array.from({ length: 60 }, (_, d) => {
  const length = d === 7 ? 80 : 2 + Math.floor(46 / (1 + (data.permute(60, 5, d) % 12)));
  return Int32Array.from({ length }, (_, t) => (d * 7 + t * (1 + (d % 3)) + Math.floor((t * t) / 5)) % vocabSize);
});

interface Input {
  readonly ids: Tensor;
  readonly targets: Tensor;
  readonly weights: Tensor;
  readonly segments: Tensor | undefined;
  readonly positions: Tensor | undefined;
}

function asTensors(batch: data.PackedBatch, count: number, packed: boolean): Input {
  const of = (values: Int32Array | Float32Array): Tensor => tensor(values, { shape: [count, sequence] });
  return {
    ids: of(batch.inputs),
    targets: of(batch.targets),
    weights: of(batch.weights),
    segments: packed ? of(batch.segments) : undefined,
    positions: packed ? of(batch.positions) : undefined,
  };
}

/** The same documents, each in a row of its own; `count` rows, the last ones empty. */
function unpacked({ inputs, targets, segments }: data.PackedBatch, count: number): data.PackedBatch {
  const documents: { ids: number[]; targets: number[] }[] = [];
  let before = "";
  segments.forEach((segment, at) => {
    if (segment === 0) return;
    const name = `${Math.floor(at / sequence)} ${segment}`;
    if (name !== before) documents.push({ ids: [], targets: [] });
    before = name;
    documents.at(-1)?.ids.push(inputs[at] ?? 0);
    documents.at(-1)?.targets.push(targets[at] ?? 0);
  });
  assert.ok(documents.length <= count, `${documents.length} documents`);
  const padded = data.fillPacked(
    Array.from({ length: count }, () => []),
    sequence,
    () => [],
  );
  documents.forEach((document, row) => {
    padded.inputs.set(document.ids, row * sequence);
    padded.targets.set(document.targets, row * sequence);
    padded.weights.fill(1, row * sequence, row * sequence + document.ids.length);
  });
  return padded;
}

interface Followed {
  readonly losses: number[];
  readonly norms: number[];
  readonly gradients: Map<string, Float64Array>[];
}

async function follow(packed: boolean): Promise<Followed> {
  const config = llamaConfig("llama-tiny", { vocabSize, hiddenSize: 32, intermediateSize: 48, numHiddenLayers: 2 });
  const adam = optim.adamW({ weightDecay: 0.1 });
  const step = jit(
    ({
      state,
      input: { ids, segments, positions, targets, weights },
    }: {
      state: optim.AdamWState<Llama>;
      input: Input;
    }) => {
      const [value, grads] = valueAndGrad((model: Llama) =>
        loss(model, { ids, segments, positions }, targets, { train: true, key: key(0) }, { weights }),
      )(state.model);
      const { norm } = optim.clipByGlobalNorm(grads, 1);
      return { value, norm, grads, state: adam.update(state, grads, { learningRate: 3e-3 }) };
    },
  );
  const { at } = data.packedBatches(documents, { batch: rows, sequence, seed: 3 });
  let state = adam.init(llama({ ...config, initializerRange: 0.1 }).init(key(1)));
  const followed: Followed = { losses: [], norms: [], gradients: [] };
  for (let s = 0; s < steps; s++) {
    const batch = at(s);
    const out = step({
      state,
      input: packed ? asTensors(batch, rows, true) : asTensors(unpacked(batch, 32), 32, false),
    });
    ({ state } = out);
    followed.losses.push(await out.value.item());
    followed.norms.push(await out.norm.item());
    const gradients = tree
      .tensors(out.grads)
      .map(async ({ path, tensor }) => [path, Float64Array.from(await tensor.data(), Number)] as const);
    followed.gradients.push(new Map(await Promise.all(gradients)));
  }
  return followed;
}

/** Tolerances: sums of single precision in another order, of some thousand terms of 6e-8 each. What is wrong is off by far more, or to
 *  one side. */
const meanOf = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

test("packed and padded: losses and gradients of every step", async () => {
  await device("cpu");
  const [packed, padded] = [await follow(true), await follow(false)];
  assert.ok((packed.losses.at(-1) ?? 9) < (packed.losses[0] ?? 0) - 0.3, "it learns");
  for (const part of ["losses", "norms"] as const) {
    const residuals = packed[part].map((value, s) => value - (padded[part][s] ?? Number.NaN));
    const largest = Math.max(...residuals.map(Math.abs));
    assert.ok(largest < 1e-5, `${part} differ by ${largest}`);
    assert.ok(Math.abs(meanOf(residuals)) < 4e-6, `${part} are off by ${meanOf(residuals)} on average`);
  }
  packed.gradients.forEach((gradients, s) => {
    for (const [path, values] of gradients) {
      const others = padded.gradients[s]?.get(path);
      const scale = Math.hypot(...values) / Math.sqrt(values.length);
      const residuals = Array.from(values, (value, i) => value - (others?.[i] ?? Number.NaN));
      const rms = Math.hypot(...residuals) / Math.sqrt(residuals.length);
      assert.ok(rms < 2e-4 * scale + 1e-9, `step ${s}, ${path}: ${rms} of ${scale}`);
      assert.ok(Math.abs(meanOf(residuals)) < 1e-4 * scale + 1e-9, `step ${s}, ${path}: off by ${meanOf(residuals)}`);
    }
  });
});

test("a document's logits are those of the document alone, whatever stands beside it", async () => {
  await device("cpu");
  const model = llama(llamaConfig("llama-tiny", { vocabSize, numHiddenLayers: 2 })).init(key(2));
  const { at } = data.packedBatches(documents, { batch: rows, sequence, seed: 0 });
  const batch = at(1);
  const { ids, segments, positions } = asTensors(batch, rows, true);
  const together = await model({ ids, segments, positions }).data();
  let at0 = batch.segments.indexOf(2);
  const length = batch.segments.slice(at0, sequence).filter((segment) => segment === 2).length;
  assert.ok(at0 > 0 && length > 2);
  const alone = await model(tensor(batch.inputs.slice(at0, at0 + length), { shape: [1, length] })).data();
  for (let i = 0; i < alone.length; i++) {
    const [one, other] = [Number(alone[i]), Number(together[at0 * vocabSize + i])];
    assert.ok(Math.abs(one - other) < 1e-5, `${one} ${other}`);
  }
  // Without the masks the documents would see each other.
  const mixed = await model(ids).data();
  at0 = (at0 + length - 1) * vocabSize;
  assert.ok(
    Array.from({ length: vocabSize }, (_, i) => Math.abs(Number(mixed[at0 + i]) - Number(together[at0 + i]))).some(
      (d) => d > 1e-3,
    ),
  );
});
