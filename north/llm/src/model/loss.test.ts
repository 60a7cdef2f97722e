/** The loss in chunks is the loss, with less memory; weights count; documents packed into a row are as alone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ArgumentError,
  concat,
  device,
  footprint,
  jit,
  key,
  optim,
  random,
  ShapeError,
  slice,
  tensor,
  type Tensor,
  tree,
  valueAndGrad,
} from "sinan";
import { onEachDevice } from "../../../../tests/devices.ts";
import { type LlamaConfig, llamaConfig } from "../config.ts";
import { type Llama, llama } from "./llama.ts";
import { loss, type LossOptions } from "./loss.ts";
import type { TokenInput } from "./positions.ts";
import { tinyShape } from "../tiny.fixture.ts";

const small: Partial<LlamaConfig> = {
  vocabSize: 37,
  ...tinyShape,
  maxPositionEmbeddings: 64,
};
const ints = (values: readonly number[], shape: readonly number[]): Tensor =>
  tensor(Int32Array.from(values), { shape });
const someIds = (rows: number, time: number, seed: number): Tensor =>
  ints(
    Array.from({ length: rows * time }, (_, i) => (i * 31 + seed * 17 + (i % 5) * seed) % 37),
    [rows, time],
  );

/** The loss and all gradients, by path. */
async function both(
  model: Llama,
  inputs: Tensor | TokenInput,
  targets: Tensor,
  options: LossOptions,
): Promise<Map<string, number[]>> {
  const given = { inputs, targets, weights: options.weights ?? null };
  const step = jit((m: Llama, g: typeof given) =>
    valueAndGrad((m: Llama) =>
      loss(m, g.inputs, g.targets, { train: false }, { ...options, weights: g.weights ?? undefined }),
    )(m),
  );
  const [value, gradients] = step(model, given);
  const found = new Map([["", [await value.item()]]]);
  for (const { path, tensor: t } of tree.tensors(gradients)) found.set(path, Array.from(await t.data(), Number));
  return found;
}

function near(got: ReadonlyMap<string, number[]>, want: ReadonlyMap<string, number[]>, tolerance: number): void {
  assert.deepEqual([...got.keys()], [...want.keys()]);
  for (const [path, values] of want) {
    const largest = values.reduce((m, x) => Math.max(m, Math.abs(x)), 1e-30);
    values.forEach((x, i) => {
      const error = Math.abs(x - (got.get(path)?.[i] as number));
      assert.ok(error <= tolerance * largest, `${path}[${i}]: ${got.get(path)?.[i]} for ${x}`);
    });
  }
}

onEachDevice("in chunks the loss and every gradient are those of all logits at once", async () => {
  const weights = (): Tensor => random.uniform(key(4), [2, 15]);
  for (const [changes, chunk, options] of [
    [{ tieWordEmbeddings: true }, 6, {}],
    [{ tieWordEmbeddings: false }, 7, { weights: weights() }],
    [
      { modelType: "decoder", tieWordEmbeddings: false, logitSoftcap: 2, headBias: true, logitScale: 0.5 },
      24,
      { weights: weights(), reduction: "sum" },
    ],
  ] as const) {
    const model = llama(llamaConfig("llama-tiny", { ...small, numHiddenLayers: 1, ...changes })).init(key(1));
    const [inputs, targets] = [someIds(2, 15, 1), someIds(2, 15, 2)];
    near(
      await both(model, inputs, targets, { ...options, chunk }),
      await both(model, inputs, targets, { ...options, chunk: false }),
      2e-6,
    );
  }
});

test("the loss of weighted targets is Σ weight · nats / Σ weight, and the target of a weight of 0 may be anything", async () => {
  await device("interpreter");
  const model = llama(llamaConfig("llama-tiny", small)).init(key(1));
  const [inputs, targets] = [someIds(1, 4, 1), ints([5, 6, -100, 7], [1, 4])];
  const each = async (i: number): Promise<number> =>
    loss(model, inputs, targets, undefined, { weights: tensor([[0, 1, 2, 3].map((j) => Number(i === j))]) }).item();
  const nats = [await each(0), await each(1), 0, await each(3)];
  const weights = [0.5, 2, 0, 1];
  for (const chunk of [false, 3] as const) {
    const options = { weights: tensor([weights]), chunk };
    const total = weights.reduce((sum, w, i) => sum + w * (nats[i] as number), 0);
    const mean = await loss(model, inputs, targets, undefined, options).item();
    assert.ok(Math.abs(mean - total / 3.5) < 1e-6, `${mean} for ${total / 3.5}`);
    const sum = await loss(model, inputs, targets, undefined, { ...options, reduction: "sum" }).item();
    assert.ok(Math.abs(sum - total) < 1e-5);
  }
  assert.throws(() => loss(model, inputs, targets, undefined, { weights: tensor([[1, 1]]) }), ShapeError);
  assert.throws(() => loss(model, inputs, targets, undefined, { chunk: 0 }), ArgumentError);
});

test("at a vocabulary of 32,000 chunks take a quarter of the step's peak away, and more", async () => {
  await device("cpu", { options: { threads: 1 } });
  const config = llamaConfig("llama-tiny", { ...small, vocabSize: 32_000, hiddenSize: 32, numHiddenLayers: 4 });
  const adam = optim.adamW({ learningRate: 1e-3 });
  const batch = {
    state: adam.init(llama(config).init(key(1))),
    inputs: someIds(8, 64, 1),
    targets: someIds(8, 64, 2),
  };
  const peakOf = async (options: LossOptions): Promise<number> => {
    const step = jit(
      ({ state, inputs, targets }: typeof batch) => {
        const [value, grads] = valueAndGrad((m: Llama) => loss(m, inputs, targets, undefined, options))(state.model);
        return { state: adam.update(state, grads), value };
      },
      { donate: ["state"] },
    );
    return (await footprint(step, batch)).peakBytes;
  };
  const [plain, chunked] = [await peakOf({ chunk: false }), await peakOf({})];
  assert.ok(chunked <= 0.75 * plain, `${chunked / 2 ** 20} MiB of ${plain / 2 ** 20}`);
});

/** One layer with a window, one without. */
const windowed: Partial<LlamaConfig> = { modelType: "decoder", slidingWindow: 3, layersWithoutWindow: [1] };

onEachDevice("documents in one row are as alone: logits, losses and gradients, with a window and without", async () => {
  for (const changes of [windowed, { modelType: "decoder", position: "learned" } as const]) {
    const model = llama(llamaConfig("llama-tiny", { ...small, ...changes })).init(key(3));
    const lengths = [8, 1, 8, 1, 8, 8];
    const documents = lengths.map((n, i) => ({ ids: someIds(1, n, i + 1), targets: someIds(1, n, i + 9) }));
    // Two rows; the second document of each may have the number of one in the other row, or of one before.
    const rows = [documents.slice(0, 3), documents.slice(3)];
    const joined = (part: "ids" | "targets"): Tensor =>
      concat(
        rows.map((row) =>
          concat(
            row.map((d) => d[part]),
            1,
          ),
        ),
        0,
      );
    const numbers = [1, 2, 1, 2, 1, 5].flatMap((n, i) => Array<number>(lengths[i] as number).fill(n));
    const segments = ints(numbers, [2, 17]);
    const packed = { ids: joined("ids"), segments };
    const logits = await model(packed).data();
    let at = 0;
    for (const { ids } of documents) {
      const alone = await model(ids).data();
      const got = logits.subarray(at, at + alone.length);
      alone.forEach((x, i) => assert.ok(Math.abs(Number(x) - Number(got[i])) < 1e-6, `${i}`));
      at += alone.length;
    }
    if (changes !== windowed) continue;
    const ones = (n: number): Tensor => tensor(new Float32Array(n).fill(1), { shape: [1, n] });
    const alone = new Map<string, number[]>();
    for (const { ids, targets } of documents) {
      const one = await both(model, ids, targets, { weights: ones(ids.size), reduction: "sum" });
      for (const [path, values] of one)
        alone.set(
          path,
          values.map((x, i) => x / 34 + (alone.get(path)?.[i] ?? 0)),
        );
    }
    near(await both(model, packed, joined("targets"), {}), alone, 2e-5);
  }
});

test("no token of a document changes a bit of another's", async () => {
  await device("cpu", { options: { threads: 1 } });
  const model = llama(llamaConfig("llama-tiny", { ...small, maxPositionEmbeddings: 256 })).init(key(3));
  const segments = ints(
    Array.from({ length: 200 }, (_, i) => (i < 90 ? 0 : i < 130 ? 1 : 2)),
    [1, 200],
  );
  const of = async (first: number): Promise<readonly number[]> => {
    const ids = someIds(1, 200, 1);
    const changed = concat([ints([first], [1, 1]), ids.at(slice(), slice(1))], 1);
    return Array.from(await model({ ids: changed, segments }).at(0, slice(90)).data(), Number);
  };
  assert.deepEqual(await of(1), await of(30));
});

test("positions may be given, and records of other shapes are refused", async () => {
  await device("interpreter");
  const model = llama(llamaConfig("llama-tiny", small)).init(key(3));
  const ids = someIds(1, 4, 1);
  const [plain, same, moved] = await Promise.all(
    [{ ids }, { ids, positions: ints([0, 1, 2, 3], [1, 4]) }, { ids, positions: ints([7, 9, 20, 40], [1, 4]) }].map(
      (g) => model(g).data(),
    ),
  );
  assert.deepEqual(plain, same);
  assert.notDeepEqual(plain, moved);
  assert.throws(() => model({ ids, segments: ints([0, 0], [1, 2]) }), ShapeError);
  assert.throws(() => model({ ids, positions: tensor([[0, 1, 2, 3]]) }), /positions i32\[1,4\]/);
});
