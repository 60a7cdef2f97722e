/** Every family and flag against `transformers`: logits, greedy tokens with the cache, parameters, and files that go around. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  argmax,
  device,
  jit,
  key,
  memoryFiles,
  slice,
  type StoredTensor,
  tensor,
  type Tensor,
  writeSafetensors,
} from "sinan";
import { onEachDevice } from "../../../tests/devices.ts";
import { type FamilyCase, type Loaded, loadCases } from "../../../tests/fixtures/load.ts";
import { llamaConfigFromJson, llamaConfigToJson } from "./config.ts";
import { generate } from "./generate/generate.ts";
import { type Llama, llama } from "./model/llama.ts";
import { parameterCount } from "./model/size.ts";
import { loadLlama } from "./weights/files.ts";
import { saveLlama } from "./weights/save.ts";
import { llamaFromStored, storedWeights } from "./weights/stored.ts";

const { cases, tensors } = loadCases("families");

/** The weights of a case as a file has them: stored as k, they are k / 64. */
const weightsOf = (c: Loaded<FamilyCase>): Map<string, StoredTensor> =>
  new Map(
    [...tensors].flatMap(([name, { values, shape }]) => {
      const [, owner, own] = /^([^.]*)\/([^/#]+)$/.exec(name) ?? [];
      if (owner !== c.name || own === undefined) return [];
      const data = new Uint8Array(Float32Array.from(values, (k) => k / 64).buffer);
      return [[own, { dtype: "f32" as const, shape, data }]];
    }),
  );

async function modelOf(c: Loaded<FamilyCase>): Promise<Llama> {
  const files = memoryFiles();
  await files.mkdir("/m");
  await files.write("/m/config.json", [new TextEncoder().encode(JSON.stringify(c.config))]);
  await files.write("/m/model.safetensors", [writeSafetensors(weightsOf(c))]);
  return loadLlama(files, "/m");
}

const partOf = (c: Loaded<FamilyCase>, part: string) => {
  const found = tensors.get(`${c.name}#${part}`);
  assert.ok(found, `${c.name}#${part}`);
  return found;
};

/** The logits of all of its tokens. */
async function compareLogits(c: Loaded<FamilyCase>, model: Llama): Promise<void> {
  const { values, shape } = partOf(c, "ids");
  const got = await jit((m: Llama, ids: Tensor) => m(ids))(model, tensor(Int32Array.from(values), { shape })).data();
  const want = partOf(c, "logits").values;
  const largest = want.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  assert.equal(got.length, want.length);
  want.forEach((x, i) => assert.ok(Math.abs(x - Number(got[i])) < 1e-4 * largest, `logit ${i}: ${got[i]} for ${x}`));
}

/** What changes nothing of a cache need not go through one. */
const isCacheless = /biases|tied|gelu|relu/;

for (const c of cases)
  test(`${c.name}: logits and greedy tokens are those of transformers`, async () => {
    await device(c.name.includes("/") ? "interpreter" : "cpu"); // a flag compiles what its family does
    const model = await modelOf(c);
    await compareLogits(c, model);
    if (c.newTokens === 0 || isCacheless.test(c.name)) return;
    const { values, shape } = partOf(c, "ids");
    const text = values.subarray(0, shape[1]);
    const tokens: number[] = [];
    for await (const id of generate(model, text.subarray(0, c.promptTime), { maxTokens: c.newTokens, stopIds: [] }))
      tokens.push(id);
    assert.deepEqual(tokens, Array.from(text.subarray(c.promptTime)));
  });

for (const name of ["gemma2", "gpt2", "stablelm/parallel"])
  onEachDevice(`${name}: logits are those of transformers`, async () => {
    const c = cases.find((one) => one.name === name) as Loaded<FamilyCase>;
    await compareLogits(c, await modelOf(c));
  });

test("configurations go around, and models have as many parameters as those of transformers", () => {
  assert.ok(cases.length > 40);
  for (const c of cases) {
    const config = llamaConfigFromJson(c.config);
    assert.equal(parameterCount(config), c.parameters, c.name);
    const json = JSON.parse(JSON.stringify(llamaConfigToJson(config))) as Record<string, unknown>;
    assert.deepEqual(llamaConfigFromJson(json), config, c.name);
    // The fields of transformers' own file, where both have them, are written as it wrote them.
    for (const [name, value] of Object.entries(json))
      if (typeof value === "number" && typeof c.config[name] === "number" && !/sliding|max_window/.test(name))
        assert.equal(value, c.config[name], `${c.name}: ${name}`);
  }
});

test("files that hold the trunk alone, with masks and frequencies in them, are read as the Hub has them", async () => {
  await device("cpu");
  const junk = { dtype: "f32" as const, shape: [1], data: new Uint8Array(4) };
  for (const [name, trunk, more] of [
    ["gpt2", "transformer.", ["h.0.attn.bias", "h.1.attn.masked_bias"]],
    ["bloom", "transformer.", ["lm_head.weight"]],
    ["gpt_neox", "", ["gpt_neox.layers.0.attention.bias", "gpt_neox.layers.1.attention.masked_bias"]],
    ["gpt_neox", "", ["gpt_neox.layers.1.attention.rotary_emb.inv_freq"]],
    ["phi", "", ["model.layers.1.self_attn.rotary_emb.inv_freq"]],
    ["gemma", "model.", []],
  ] as const) {
    const c = cases.find((one) => one.name === name) as Loaded<FamilyCase>;
    const config = llamaConfigFromJson(c.config);
    const whole = [...weightsOf(c)].map(([n, t]) => [n.startsWith(trunk) ? n.slice(trunk.length) : n, t] as const);
    const read = (others: readonly string[]): Llama =>
      llamaFromStored(config, new Map([...whole, ...others.map((n) => [n, junk] as const)]));
    assert.deepEqual(await storedWeights(read(more)), weightsOf(c), name);
    assert.throws(() => read([...more, "h.0.attn.scale"]), /got the tensor h\.0\.attn\.scale/);
  }
});

test("weights go around under the names of the family, whole and in shards", async () => {
  await device("cpu");
  for (const c of cases.filter(({ name }) => !name.includes("/"))) {
    const model = await modelOf(c);
    const want = weightsOf(c);
    const got = await storedWeights(model);
    assert.deepEqual([...got.keys()].sort(), [...want.keys()].sort(), c.name);
    for (const [name, { data }] of want) assert.deepEqual(got.get(name)?.data, data, `${c.name}: ${name}`);
    const files = memoryFiles();
    await saveLlama(files, "/out", model, { maxShardBytes: 3000 });
    assert.ok((await files.list("/out")).length > 4);
    assert.deepEqual(await storedWeights(await loadLlama(files, "/out")), got, c.name);
  }
});

test("the decoder takes what no family has together, and its files go around", async () => {
  await device("cpu");
  const config = llamaConfigFromJson({
    model_type: "decoder",
    vocab_size: 23,
    hidden_size: 12,
    intermediate_size: 10,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    head_dim: 4,
    hidden_act: "relu2",
    position: "learned",
    max_position_embeddings: 16,
    norm: "layer",
    norm_place: "both",
    parallel: "twoNorms",
    gated: false,
    qk_norm: "width",
    window_layers: [true, false],
    sliding_window: 3,
    logit_softcap: 5,
    head_bias: true,
    residual_scale: 0.5,
  });
  const model = llama(config).init(key(3));
  const files = memoryFiles();
  await saveLlama(files, "/out", model);
  const back = await loadLlama(files, "/out");
  assert.deepEqual({ ...back.config }, { ...config });
  const ids = tensor(Int32Array.of(3, 1, 4, 1, 5, 9, 2, 6), { shape: [1, 8] });
  const [a, b] = await Promise.all([model, back].map((m) => m(ids).data()));
  assert.deepEqual(a, b);
  const tokens: number[] = [];
  for await (const id of generate(model, [3, 1, 4, 1], { maxTokens: 6, stopIds: [] })) tokens.push(id);
  const whole = tensor(Int32Array.of(3, 1, 4, 1, ...tokens), { shape: [1, 10] });
  const best = await argmax(model(whole).at(0, slice(3, 9)), -1).data();
  assert.deepEqual(tokens, Array.from(best, Number));
});
