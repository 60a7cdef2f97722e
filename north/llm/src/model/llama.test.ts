/** The LLaMA against `transformers` and PyTorch: logits, loss and the gradient of every parameter, on every device. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  ArgumentError,
  dequantize,
  device,
  type DType,
  jit,
  key,
  quantize,
  random,
  ShapeError,
  slice,
  type Tensor,
  tensor,
  tree,
  valueAndGrad,
} from "sinan";
import { onEachDevice } from "../../../../tests/devices.ts";
import { fixturePath, type LlamaCase, loadCases, loadTensors, named } from "../../../../tests/fixtures/load.ts";
import { type LlamaConfig, llamaConfig, llamaConfigFromJson } from "../config.ts";
import { weightShapes } from "../weights/shapes.ts";
import { withWeights } from "../weights/stored.ts";
import { type Llama, llama } from "./llama.ts";
import { loss } from "./loss.ts";
import { quantizeLlama } from "./quantise.ts";
import { parameterCount } from "./size.ts";

const { cases } = loadCases("llama");

const configOf = (name: string): LlamaConfig =>
  llamaConfigFromJson(JSON.parse(readFileSync(fixturePath("llama", name, "config.json"), "utf8")));

function modelOf(name: string, dtype: DType): Llama {
  const config = configOf(name);
  const stored = loadTensors("llama", name, "model.safetensors");
  return withWeights(llama(config), (path) =>
    tensor(named(stored, path).values, { shape: named(stored, path).shape, dtype }),
  );
}

const idsOf = ({ name, batch, time }: LlamaCase): Tensor =>
  tensor(Int32Array.from(named(loadTensors("llama", name, "expected.safetensors"), "ids").values), {
    shape: [batch, time],
  });

/** The largest error relative to the largest expected element. */
async function relativeError(got: Tensor, want: Float64Array): Promise<number> {
  const values = await got.data();
  assert.equal(values.length, want.length);
  let error = 0;
  let largest = 0;
  want.forEach((x, i) => {
    const difference = Math.abs(x - Number(values[i]));
    error = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(error, difference);
    largest = Math.max(largest, Math.abs(x));
  });
  return error / largest;
}

const lossOf = (m: Llama, ids: Tensor): Tensor => loss(m, ids.at(slice(), slice(0, -1)), ids.at(slice(), slice(1)));

async function compare(c: LlamaCase, dtype: DType, tolerance: number): Promise<void> {
  const expected = loadTensors("llama", c.name, "expected.safetensors");
  const model = modelOf(c.name, dtype);
  const ids = idsOf(c);
  const step = jit((m: Llama, x: Tensor) => ({ result: valueAndGrad(lossOf)(m, x), logits: m(x) }));
  const { result, logits } = step(model, ids);
  const [value, gradient] = result;
  assert.ok((await relativeError(logits, named(expected, "logits").values)) < tolerance, "logits");
  assert.ok((await relativeError(value, Float64Array.of(c.loss))) < tolerance, "loss");
  const gradients = tree.tensors(gradient);
  assert.equal(gradients.length, weightShapes(model).size);
  for (const { path, tensor } of gradients) {
    const error = await relativeError(tensor, named(expected, `grad.${path}`).values);
    assert.ok(error < tolerance, `gradient of ${path}: ${error}`);
  }
}

for (const c of cases) {
  onEachDevice(`llama ${c.name}: logits, loss and gradients are PyTorch's, f32`, () => compare(c, "f32", 1e-4));

  test(`llama ${c.name}: logits, loss and gradients are PyTorch's, f64 exact`, async () => {
    await device("interpreter", { options: { exact: true } });
    await compare(c, "f64", 1e-9);
  });

  test(`llama ${c.name} has as many parameters as in transformers`, () => {
    const sizes = [...weightShapes(llama(configOf(c.name))).values()].map((shape) => shape.reduce((a, b) => a * b));
    assert.equal(
      sizes.reduce((a, b) => a + b),
      c.parameters,
    );
    assert.equal(parameterCount(configOf(c.name)), c.parameters);
  });
}

test("without jit the numbers are the same", async () => {
  await device("interpreter");
  const c = cases.find(({ name }) => name === "untied") as LlamaCase;
  const [value, gradient] = valueAndGrad(lossOf)(modelOf(c.name, "f32"), idsOf(c));
  assert.ok(Math.abs((await value.item()) - c.loss) < 1e-4 * c.loss);
  const expected = loadTensors("llama", c.name, "expected.safetensors");
  for (const { path, tensor } of tree.tensors(gradient))
    assert.ok((await relativeError(tensor, named(expected, `grad.${path}`).values)) < 1e-4, path);
});

const small = {
  vocabSize: 31,
  hiddenSize: 16,
  intermediateSize: 24,
  numHiddenLayers: 3,
  numAttentionHeads: 2,
  numKeyValueHeads: 2,
  headDim: 8,
} as const;
const someIds = (): Tensor => tensor(Int32Array.of(3, 1, 4, 1, 5, 9, 2, 6), { shape: [2, 4] });

onEachDevice("a fresh model knows nothing: its loss is about the logarithm of the vocabulary", async () => {
  const model = llama(llamaConfig("llama-tiny", { ...small, tieWordEmbeddings: false })).init(key(0));
  const value = await loss(model, someIds(), someIds()).item();
  assert.ok(Math.abs(value - Math.log(31)) < 0.1, String(value));
});

onEachDevice("a weight's first value depends on the key and its name alone", async () => {
  const first = llama(llamaConfig("llama-tiny", small)).init(key(7));
  const deeper = llama(llamaConfig("llama-tiny", { ...small, vocabSize: 40 })).init(key(7));
  const other = llama(llamaConfig("llama-tiny", small)).init(key(8));
  const weight = async (m: Llama): Promise<unknown> => m.model.layers[1]?.self_attn.q_proj.weight.data();
  assert.deepEqual(await weight(first), await weight(deeper));
  assert.notDeepEqual(await weight(first), await weight(other));
  const [q, k] = await Promise.all([1, 0].map(async (i) => first.model.layers[i]?.self_attn.q_proj.weight.data()));
  assert.notDeepEqual(q, k);
});

onEachDevice("matrices in blocks give the logits of the values that their blocks have", async () => {
  const wide = { ...small, hiddenSize: 32, intermediateSize: 64, headDim: 16, tieWordEmbeddings: false };
  const model = llama(llamaConfig("llama-tiny", wide)).init(key(3));
  const embedding = model.model.embed_tokens.weight;
  const mapped = (f: (w: Tensor) => Tensor): Llama =>
    tree.map((w) => (w.rank === 2 && w !== embedding ? f(w) : w), model);
  const blocks = mapped((w) => quantize(w, "q4_0"));
  assert.equal(blocks.model.layers[0]?.mlp.up_proj.weight.dtype, "q4_0");
  const run = jit((m: Llama, ids: Tensor) => m(ids));
  const logits = async (m: Llama): Promise<number[]> => [...((await run(m, someIds()).data()) as Float32Array)];
  const [got, wanted] = [await logits(blocks), await logits(mapped((w) => dequantize(quantize(w, "q4_0"))))];
  got.forEach((value, i) => assert.ok(Math.abs(value - (wanted[i] ?? 0)) < 1e-5, `${i}: ${value}, not ${wanted[i]}`));
  assert.notDeepEqual(got, await logits(model));
});

onEachDevice("matrices in blocks, with activations as they are and in 8 bits", async () => {
  const wide = { ...small, hiddenSize: 32, intermediateSize: 64, headDim: 16, tieWordEmbeddings: false };
  const model = llama(llamaConfig("llama-tiny", wide)).init(key(0));
  const logits = async (m: Llama): Promise<number[]> => Array.from(await m(someIds()).data(), Number);
  const far = (a: readonly number[], b: readonly number[]): number =>
    Math.max(...a.map((x, i) => Math.abs(x - (b[i] as number)))) / Math.max(...b.map(Math.abs));
  const plain = await logits(model);
  for (const dtype of ["q8_0", "q4_0"] as const) {
    const [exact, rounded] = [quantizeLlama(model, dtype), quantizeLlama(model, dtype, { activations: "int8" })];
    assert.equal(rounded.model.layers[0]?.mlp.up_proj.weight.dtype, dtype);
    assert.equal(rounded.model.embed_tokens.weight, model.model.embed_tokens.weight);
    const [a, b] = [await logits(exact), await logits(rounded)];
    assert.notDeepEqual(a, b);
    // Rounding to 8 bits moves logits less than what 4 bits of the weights do, about as much as 8 bits.
    assert.ok(far(b, a) < 0.02, `${dtype}: ${far(b, a)}`);
    assert.ok(far(a, plain) < (dtype === "q8_0" ? 0.02 : 0.3), `${dtype}: ${far(a, plain)}`);
  }
});

for (const name of ["dropout", "attentionDropout"] as const)
  onEachDevice(`${name}: the key decides, jitted or not, and evaluation has none`, async () => {
    const model = llama(llamaConfig("llama-tiny", { ...small, [name]: 0.3 })).init(key(0));
    const value = (train: boolean, seed: number): Promise<number> =>
      loss(model, someIds(), someIds(), { train, key: key(seed) }).item();
    assert.equal(await value(true, 1), await value(true, 1));
    assert.notEqual(await value(true, 1), await value(true, 2));
    assert.equal(await value(false, 1), await value(false, 2));
    assert.notEqual(await value(true, 1), await value(false, 1));
    // Jitted, the noise is that of the key still.
    const step = jit((m: Llama, k: Tensor) =>
      valueAndGrad((m: Llama) => loss(m, someIds(), someIds(), { train: true, key: k }))(m),
    );
    const [jitted] = step(model, key(1));
    assert.ok(Math.abs((await jitted.item()) - (await value(true, 1))) < 1e-6);
  });

test("dropout that is on needs a key", async () => {
  await device("interpreter");
  const model = llama(llamaConfig("llama-tiny", { ...small, dropout: 0.3 })).init(key(0));
  assert.throws(() => loss(model, someIds(), someIds(), { train: true }), ArgumentError);
});

onEachDevice("no token sees a later one", async () => {
  const model = llama(llamaConfig("llama-tiny", small)).init(key(2));
  const rows = async (last: number): Promise<Float32Array> =>
    (await model(tensor(Int32Array.of(3, 1, 4, last), { shape: [1, 4] }))
      .at(0, slice(0, 3))
      .data()) as Float32Array;
  assert.deepEqual(await rows(1), await rows(20));
});

onEachDevice("a row has the same bits alone and in a batch", async () => {
  const model = llama(llamaConfig("llama-tiny", small)).init(key(2));
  const both = await model(someIds()).at(1).data();
  const alone = await model(someIds().at(slice(1, 2)))
    .at(0)
    .data();
  assert.deepEqual(both, alone);
});

test("a model is a tree: mapped, it is a model of the same configuration", async () => {
  await device("interpreter");
  const model = llama(llamaConfig("llama-tiny", small)).init(key(0));
  const doubled = tree.map((w) => w.mul(2), model);
  assert.deepEqual({ ...doubled.config }, { ...model.config });
  const [a, b] = await Promise.all([model, doubled].map((m) => m.model.embed_tokens.weight.data()));
  assert.deepEqual(
    Array.from(b as Float32Array),
    Array.from(a as Float32Array, (x) => 2 * x),
  );
  assert.deepEqual(
    tree
      .tensors(model)
      .map(({ path }) => path)
      .sort(),
    [...weightShapes(model).keys()].sort(),
  );
});

test("wrong input is refused by name", async () => {
  await device("interpreter");
  const config = llamaConfig("llama-tiny", { ...small, maxPositionEmbeddings: 8 });
  assert.throws(() => llama(config)(someIds()), /no value yet/);
  const model = llama(config).init(key(0));
  const ids = (shape: readonly number[]): Tensor => tensor(new Int32Array(shape.reduce((a, b) => a * b)), { shape });
  assert.throws(() => model(ids([4])), ShapeError);
  assert.throws(() => model(random.normal(key(0), [1, 4])), ShapeError);
  assert.throws(() => model(ids([1, 9])), /9 tokens.*8 positions/);
  assert.throws(() => loss(model, ids([1, 4]), ids([1, 3])), ShapeError);
});
