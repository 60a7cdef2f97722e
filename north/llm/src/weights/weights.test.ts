/** Checkpoints of `transformers`, whole and in shards, are read to the bit; ours go around; damaged and foreign ones are
 *  refused by the tensor's name. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import {
  ArgumentError,
  CheckpointError,
  device,
  FileError,
  FormatError,
  key,
  memory,
  memoryFiles,
  type MemoryFiles,
  PowerLoss,
  readSafetensors,
  ShapeError,
  type StoredTensor,
  tensor,
  tree,
  writeSafetensors,
} from "sinan";
import { onEachDevice } from "../../../../tests/devices.ts";
import { fixturePath, loadCases } from "../../../../tests/fixtures/load.ts";
import { llamaConfig } from "../config.ts";
import { generate } from "../generate/generate.ts";
import { type Llama, llama } from "../model/llama.ts";
import { parameterCount } from "../model/size.ts";
import { loadLlama } from "./files.ts";
import { saveLlama } from "./save.ts";
import { llamaFromStored, storedWeights } from "./stored.ts";

/** The files of a fixture folder in memory. */
async function filesOf(...path: readonly string[]): Promise<MemoryFiles> {
  const files = memoryFiles();
  await files.mkdir("/model");
  for (const name of readdirSync(fixturePath(...path)))
    await files.write(`/model/${name}`, [new Uint8Array(readFileSync(fixturePath(...path, name)))]);
  return files;
}

const { cases } = loadCases("hf");

for (const c of cases)
  onEachDevice(`${c.name} (${c.dtype}) of transformers: logits and greedy tokens`, async () => {
    const model = await loadLlama(await filesOf("hf", c.name), "/model");
    const { values, shape } = c.tensor("ids");
    const got = await model(tensor(Int32Array.from(values), { shape })).data();
    c.tensor("logits").values.forEach((x, i) =>
      assert.ok(Math.abs(x - Number(got[i])) < 1e-4 * Math.max(1, Math.abs(x)), `logit ${i}: ${got[i]} for ${x}`),
    );
    const tokens: number[] = [];
    for await (const id of generate(model, values.subarray(0, c.promptTime), { maxTokens: c.newTokens, stopIds: [] }))
      tokens.push(id);
    assert.deepEqual(tokens, Array.from(values.subarray(c.promptTime, shape[1])));
  });

const small = llamaConfig("llama-tiny", {
  vocabSize: 23,
  hiddenSize: 8,
  intermediateSize: 12,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  numKeyValueHeads: 1,
  headDim: 4,
  tieWordEmbeddings: true,
});

onEachDevice("what is saved is loaded, bit for bit", async () => {
  for (const tieWordEmbeddings of [true, false]) {
    const model = llama({ ...small, tieWordEmbeddings }).init(key(9));
    const files = memoryFiles();
    await saveLlama(files, "/out", model);
    const back = await loadLlama(files, "/out");
    assert.deepEqual({ ...back.config }, { ...model.config });
    assert.deepEqual(await storedWeights(back), await storedWeights(model));
    const { tensors, metadata } = readSafetensors(await files.read("/out/model.safetensors"));
    assert.equal(tensors.has("lm_head.weight"), !tieWordEmbeddings);
    assert.deepEqual(metadata, { format: "pt" });
  }
});

test("weights may be read as f64", async () => {
  await device("interpreter");
  const model = await loadLlama(await filesOf("hf", "sharded"), "/model", { as: "f64" });
  for (const { path, tensor } of tree.tensors(model)) assert.equal(tensor.dtype, "f64", path);
});

const stored = async (): Promise<Map<string, StoredTensor>> => storedWeights(llama(small).init(key(1)));
const q = "model.layers.1.self_attn.q_proj.weight";

test("a foreign file is refused by the tensor's name", async () => {
  await device("interpreter");
  const whole = await stored();
  const weight = whole.get(q) as StoredTensor;
  const without = new Map(whole);
  without.delete(q);
  const refused = (
    tensors: ReadonlyMap<string, StoredTensor>,
    error: typeof CheckpointError | typeof ShapeError,
    message: RegExp,
  ) =>
    assert.throws(
      () => llamaFromStored(small, tensors),
      (e: unknown) => e instanceof error && message.test(e.message),
    );
  refused(
    without,
    CheckpointError,
    /expected the tensor model\.layers\.1\.self_attn\.q_proj\.weight, which is not there/,
  );
  refused(new Map(), CheckpointError, /and 17 more/);
  refused(
    new Map([...whole, ["model.layers.2.mlp.up_proj.weight", weight]]),
    CheckpointError,
    /got the tensor model\.layers\.2\.mlp\.up_proj\.weight/,
  );
  refused(
    new Map([...whole, [q, { ...weight, shape: [4, 16] }]]),
    ShapeError,
    /q_proj\.weight: expected \[8, 8\], got \[4, 16\]/,
  );
  refused(
    new Map([...whole, [q, { ...weight, dtype: "i32" as const }]]),
    CheckpointError,
    /q_proj\.weight: expected f32, f16, bf16 or f64, got i32/,
  );
  refused(new Map([...whole].map(([name, t]) => [`transformer.${name}`, t])), CheckpointError, /expected the tensors/);
});

test("what old files carry besides the weights is passed over", async () => {
  await device("interpreter");
  const whole = await stored();
  const embedding = whole.get("model.embed_tokens.weight") as StoredTensor;
  const more = new Map([
    ...whole,
    ["lm_head.weight", embedding],
    ["model.layers.0.self_attn.rotary_emb.inv_freq", embedding],
  ]);
  assert.deepEqual(await storedWeights(llamaFromStored(small, more)), whole);
});

test("damaged directories are refused, each with its file", async () => {
  await device("interpreter");
  const write = (files: MemoryFiles, name: string, content: string | Uint8Array) =>
    files.write(`/model/${name}`, [typeof content === "string" ? new TextEncoder().encode(content) : content]);
  const index = (map: unknown) => JSON.stringify({ metadata: {}, weight_map: map });
  const real = readFileSync(fixturePath("hf", "sharded", "model.safetensors.index.json"), "utf8");
  const { weight_map } = JSON.parse(real) as { weight_map: Record<string, string> };
  const first = "model-00001-of-00003.safetensors";
  const absent = Object.keys(weight_map).find((name) => weight_map[name] !== first) as string;
  const bytes = new Uint8Array(readFileSync(fixturePath("hf", "sharded", first)));
  const damages: readonly (readonly [
    what: string,
    damage: (files: MemoryFiles) => Promise<void>,
    error: new (m: string) => Error,
    message: RegExp,
  ])[] = [
    ["no configuration", (f) => f.remove("/model/config.json"), FileError, /config\.json/],
    ["no weights", (f) => f.remove("/model/model.safetensors.index.json"), FileError, /model\.safetensors/],
    ["a missing shard", (f) => f.remove(`/model/${first}`), FileError, /00001/],
    ["a cut shard", (f) => write(f, first, bytes.subarray(0, bytes.length - 9)), FormatError, /00001/],
    ["an index that is no JSON", (f) => write(f, "model.safetensors.index.json", "{"), FormatError, /index\.json/],
    [
      "an index without its map",
      (f) => write(f, "model.safetensors.index.json", "{}"),
      FormatError,
      /weight_map: expected an object/,
    ],
    [
      "a way out of the directory",
      (f) => write(f, "model.safetensors.index.json", index({ x: "../secret.safetensors" })),
      FormatError,
      /weight_map\.x/,
    ],
    [
      "a tensor that its file lacks",
      (f) => write(f, "model.safetensors.index.json", index({ ...weight_map, [absent]: first })),
      CheckpointError,
      new RegExp(absent),
    ],
    [
      "a shard with another's tensors",
      (f) => write(f, "model-00002-of-00003.safetensors", bytes),
      CheckpointError,
      /does not hold it/,
    ],
    ["a configuration in no encoding", (f) => write(f, "config.json", Uint8Array.of(0xff, 0xfe)), FormatError, /UTF-8/],
    [
      "a configuration of another model",
      (f) => write(f, "config.json", readFileSync(fixturePath("llama", "tied", "config.json"), "utf8")),
      ShapeError,
      /embed_tokens\.weight: expected \[61, 32\], got \[71, 32\]/,
    ],
  ];
  for (const [what, damage, error, message] of damages) {
    const files = await filesOf("hf", "sharded");
    await damage(files);
    await assert.rejects(
      loadLlama(files, "/model"),
      (e: unknown) => e instanceof error && message.test(e.message),
      what,
    );
  }
  const files = memoryFiles();
  await saveLlama(files, "/model", llama(small).init(key(0)));
  await files.write("/model/model.safetensors", [writeSafetensors({})]);
  await assert.rejects(loadLlama(files, "/model"), CheckpointError);
});

test("a full disk leaves the old model whole", async () => {
  await device("interpreter");
  const files = memoryFiles({ capacity: 40_000 });
  const old = llama(small).init(key(0));
  await saveLlama(files, "/model", old);
  const big = llama({ ...small, vocabSize: 5000 }).init(key(0));
  await assert.rejects(saveLlama(files, "/model", big), FileError);
  assert.deepEqual(await storedWeights(await loadLlama(files, "/model")), await storedWeights(old));
});

/** Copies of weights in f32 of what a file of a narrower dtype holds. */
const rounded = async (model: Llama, dtype: "f16" | "bf16"): Promise<Map<string, StoredTensor>> => {
  const narrow = tree.map((w) => w.cast(dtype).cast("f32"), model);
  return storedWeights(narrow);
};

onEachDevice("shards hold at most what they may, in any dtype, and an index lists them", async () => {
  const model = llama({ ...small, numHiddenLayers: 3 }).init(key(9));
  for (const [as, bytes] of [
    ["f32", 4],
    ["bf16", 2],
    ["f16", 2],
  ] as const) {
    const files = memoryFiles();
    const most = 250 * bytes;
    await saveLlama(files, "/out", model, { maxShardBytes: most, as });
    const names = await files.list("/out");
    const shards = names.filter((n) => n.endsWith(".safetensors"));
    assert.ok(
      shards.length > 4 && shards.every((n) => n.endsWith(`-of-${String(shards.length).padStart(5, "0")}.safetensors`)),
    );
    assert.ok(!names.includes("model.safetensors") && names.every((n) => !n.includes("tmp")));
    const index = JSON.parse(new TextDecoder().decode(await files.read("/out/model.safetensors.index.json")));
    let total = 0;
    for (const shard of shards) {
      const { tensors } = readSafetensors(await files.read(`/out/${shard}`));
      const sizes = [...tensors.values()].map(({ data }) => data.length);
      assert.ok(sizes.length === 1 || sizes.reduce((a, b) => a + b) <= most);
      for (const [name, { dtype, data }] of tensors) {
        assert.equal(dtype, as);
        assert.equal(index.weight_map[name], shard);
        total += data.length;
      }
    }
    assert.equal(index.metadata.total_size, total);
    assert.equal(total, parameterCount(model.config) * bytes);
    assert.ok(!("lm_head.weight" in index.weight_map), "a tied weight is left out");
    const back = await storedWeights(await loadLlama(files, "/out"));
    assert.deepEqual(back, as === "f32" ? await storedWeights(model) : await rounded(model, as));
    // Read as it is stored, nothing changes on the way.
    const kept = await loadLlama(files, "/out", { as });
    assert.ok(tree.tensors(kept).every(({ tensor }) => tensor.dtype === as));
    // One file again takes the place of several.
    await saveLlama(files, "/out", kept);
    assert.deepEqual(await storedWeights(await loadLlama(files, "/out"), as), await storedWeights(kept));
  }
});

test("a crash at any step of writing leaves no model, or all of it", async () => {
  await device("interpreter");
  const model = llama(small).init(key(2));
  const want = await storedWeights(model);
  let whole = 0;
  for (let trial = 0; ; trial++) {
    const files = memoryFiles();
    const step = Math.floor(trial / 3);
    files.fault = ({ index }) => (index === step ? "crash" : undefined);
    let isDone = false;
    try {
      await saveLlama(files, "/out", model, { maxShardBytes: 600 });
      isDone = true;
    } catch (error) {
      if (!(error instanceof PowerLoss)) throw error;
    }
    if (isDone) break;
    // Of what was not durable nothing, something, everything is kept.
    files.crash((count) => [0, (step * 7) % count, count - 1][trial % 3] as number);
    try {
      assert.deepEqual(await storedWeights(await loadLlama(files, "/out")), want);
      whole++;
    } catch (error) {
      assert.ok(error instanceof FileError, String(error));
    }
  }
  assert.ok(whole > 0);
});

test("a crash at any step of replacing a model leaves the old one or the new one, and the next save goes on from there", async () => {
  await device("interpreter");
  const tiny = { ...small, vocabSize: 5, numHiddenLayers: 1 };
  const old = llama(tiny).init(key(2));
  const fresh = llama({ ...tiny, vocabSize: 7, ropeTheta: 500 }).init(key(3));
  const [a, b] = await Promise.all([storedWeights(old), storedWeights(fresh)]);
  const [few, many] = [1200, 700]; // bytes of a shard
  for (const [before, after] of [
    [many, few],
    [many, many],
    [many, 1e6],
    [1e6, few],
  ] as const) {
    const seen = { old: 0, new: 0 };
    for (let step = 0; ; step++) {
      const files = memoryFiles();
      await saveLlama(files, "/out", old, { maxShardBytes: before });
      const start = files.steps;
      files.fault = ({ index }) => (index === start + step ? "crash" : undefined);
      const isDone = await saveLlama(files, "/out", fresh, { maxShardBytes: after }).then(
        () => true,
        (error: unknown) => {
          if (error instanceof PowerLoss) return false;
          throw error;
        },
      );
      files.fault = undefined;
      if (!isDone) {
        // Of what was not durable nothing or everything is kept.
        files.crash((count) => (step % 2 === 0 ? 0 : count - 1));
        const found = await loadLlama(files, "/out");
        const which = found.config.vocabSize === old.config.vocabSize ? "old" : "new";
        seen[which]++;
        assert.deepEqual(await storedWeights(found), which === "old" ? a : b, `${step}`);
        assert.deepEqual({ ...found.config }, { ...(which === "old" ? old : fresh).config });
        await saveLlama(files, "/out", fresh, { maxShardBytes: after });
      }
      const back = await loadLlama(files, "/out");
      assert.deepEqual(await storedWeights(back), b);
      assert.deepEqual({ ...back.config }, { ...fresh.config });
      const left = (await files.list("/out")).map((name) => name.replace(/\d{5}-of-\d{5}/, "N"));
      const [stem] = [...new Set(left.filter((name) => name.endsWith(".safetensors")))];
      assert.ok(/^model(-\d)?(-N)?\.safetensors$/.test(stem as string) && !left.some((name) => /tmp|next/.test(name)));
      assert.equal(left.includes("model.safetensors.index.json"), after < 1e6);
      if (isDone) break;
    }
    assert.ok(seen.old > 4 && seen.new > 1, JSON.stringify(seen));
  }
});

test("what does not fit leaves no shards behind", async () => {
  await device("interpreter");
  const files = memoryFiles({ capacity: 40_000 });
  await saveLlama(files, "/model", llama(small).init(key(0)));
  const before = await files.list("/model");
  const big = llama({ ...small, numHiddenLayers: 40 }).init(key(0));
  await assert.rejects(saveLlama(files, "/model", big, { maxShardBytes: 1000 }), FileError);
  const shards = (await files.list("/model")).filter((name) => name.endsWith(".safetensors"));
  assert.deepEqual(
    shards,
    before.filter((name) => name.endsWith(".safetensors")),
  );
});

test("beside the model no more than one tensor is in memory while it is read", async () => {
  const wide = { ...small, vocabSize: 300, hiddenSize: 64, intermediateSize: 256, numHiddenLayers: 6, headDim: 32 };
  const files = memoryFiles();
  await device("interpreter", { options: {} });
  await saveLlama(files, "/out", llama(wide).init(key(2)), { maxShardBytes: 50_000, as: "bf16" });
  await device("cpu", { options: { threads: 1 } });
  const [before, bytes] = [memory().live, parameterCount(wide) * 4];
  const model = await loadLlama(files, "/out");
  const largest = Math.max(...tree.tensors(model).map(({ tensor }) => tensor.size));
  const [live, peak] = [memory().live - before, memory().peak - before];
  // Each tensor's memory is rounded up to a multiple of what the pool gives.
  assert.ok(live >= bytes && live < 1.1 * bytes, `${live} live for ${bytes}`);
  assert.ok(peak <= live + 2 * largest + 4096, `${peak} at most, ${live} live`);
});

test("a shard without room is refused", async () => {
  await device("interpreter");
  await assert.rejects(
    saveLlama(memoryFiles(), "/out", llama(small).init(key(0)), { maxShardBytes: 0 }),
    ArgumentError,
  );
});
