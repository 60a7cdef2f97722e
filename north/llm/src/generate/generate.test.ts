/** Generation against `transformers` (greedy, both checkpoints), against the model without a cache, and against itself. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  ArgumentError,
  device,
  DisposedError,
  key,
  memory,
  NonFiniteError,
  random,
  readSafetensors,
  type Tensor,
  tensor,
  tree,
} from "sinan";
import { onEachDevice } from "../../../../tests/devices.ts";
import { fixturePath, loadCases, named } from "../../../../tests/fixtures/load.ts";
import { llamaConfig, llamaConfigFromJson } from "../config.ts";
import { type Llama, llama } from "../model/llama.ts";
import { linesWithEndings, trainBpe } from "../tokenizer/index.ts";
import { llamaFromStored, storedWeights } from "../weights/stored.ts";
import { generate, generateText } from "./generate.ts";
import type { GenerateOptions } from "./options.ts";
import { Session } from "./session.ts";
import { tinyShape } from "../tiny.fixture.ts";

const config = llamaConfig("llama-tiny", {
  vocabSize: 300,
  ...tinyShape,
  initializerRange: 0.6,
});
const model = (): Llama => llama(config).init(key(3));
const prompt = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8];

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

/** Each token from the whole sequence anew. */
async function uncached(
  m: Llama,
  begin: readonly number[],
  { maxTokens = 0, temperature = 0, seed = 0 }: { maxTokens?: number; temperature?: number; seed?: number },
): Promise<number[]> {
  const ids = [...begin];
  for (let i = 0; i < maxTokens; i++) {
    let scores: Tensor = m(tensor(Int32Array.from(ids), { shape: [1, ids.length] })).at(0, -1);
    if (temperature > 0)
      scores = scores.div(temperature).add(random.gumbel(random.fold(key(seed), ids.length - 1), scores.dims));
    const values = await scores.data();
    ids.push(values.indexOf((values as Float32Array).reduce((a, b) => Math.max(a, b)) as never));
  }
  return ids.slice(begin.length);
}

const { cases, tensors } = loadCases("hf");
const checkpoint = cases.find(({ name }) => name === "checkpoint");

onEachDevice("greedy tokens and logits are those of transformers", async () => {
  assert.ok(checkpoint);
  const { promptTime, newTokens } = checkpoint;
  const read = (name: string): Uint8Array => new Uint8Array(readFileSync(fixturePath("hf", "checkpoint", name)));
  const hf = llamaConfigFromJson(JSON.parse(new TextDecoder().decode(read("config.json"))));
  const m = llamaFromStored(hf, readSafetensors(read("model.safetensors")).tensors);
  const { values, shape } = checkpoint.tensor("ids");
  const [batch, time] = shape as [number, number];
  for (let b = 0; b < batch; b++) {
    const row = Array.from(values.subarray(b * time, (b + 1) * time));
    assert.deepEqual(
      await all(generate(m, row.slice(0, promptTime), { maxTokens: newTokens, stopIds: [] })),
      row.slice(promptTime),
    );
  }
  const got = await m(tensor(Int32Array.from(values), { shape })).data();
  checkpoint
    .tensor("logits")
    .values.forEach((x, i) => assert.ok(Math.abs(x - Number(got[i])) < 1e-4 * Math.max(1, Math.abs(x))));
  assert.equal(named(tensors, "prompts").shape[1], promptTime);
});

onEachDevice("with a cache and without, the tokens are the same", async () => {
  for (const temperature of [0, 0.8]) {
    const options = { maxTokens: 12, temperature, seed: 5 };
    assert.deepEqual(
      await all(generate(model(), prompt, options)),
      await uncached(model(), prompt, options),
      `temperature ${temperature}`,
    );
  }
});

test("a seed decides the draw, and a text that is continued goes on as it would have", async () => {
  await device("interpreter");
  const m = model();
  const draw = (begin: readonly number[], maxTokens: number, seed: number) =>
    all(generate(m, begin, { maxTokens, temperature: 1, seed }));
  const first = await draw(prompt, 10, 1);
  assert.deepEqual(await draw(prompt, 10, 1), first);
  assert.notDeepEqual(await draw(prompt, 10, 2), first);
  assert.deepEqual(await draw([...prompt, ...first.slice(0, 4)], 6, 1), first.slice(4));
});

test("draws follow the softmax of logits / temperature", async () => {
  await device("interpreter");
  const m = model();
  const temperature = 1.5;
  const p = (await m(tensor([prompt], { dtype: "i32" }))
    .at(0, -1)
    .div(temperature)
    .softmax()
    .data()) as Float32Array;
  const count = 400;
  const seen = new Float64Array(p.length);
  for (let seed = 0; seed < count; seed++) {
    const session = new Session(m, { capacity: 64 });
    const token = await session.next(prompt, { temperature, seed });
    session.dispose();
    seen[token] = (seen[token] as number) + 1 / count;
  }
  p.forEach((x, i) =>
    assert.ok(
      Math.abs((seen[i] as number) - x) < 5 * Math.sqrt((x * (1 - x)) / count) + 1 / count,
      `token ${i}: ${seen[i]} for ${x}`,
    ),
  );
});

test("a session may be fed in parts", async () => {
  await device("interpreter");
  const m = model();
  const [whole] = await uncached(m, prompt, { maxTokens: 1 });
  for (const cut of [1, 7, 18]) {
    const session = new Session(m, { capacity: prompt.length });
    await session.next(prompt.slice(0, cut));
    assert.equal(await session.next(prompt.slice(cut)), whole);
    assert.equal(session.length, prompt.length);
    session.dispose();
  }
});

test("a stop token ends the text and is not given out", async () => {
  await device("interpreter");
  const m = model();
  const free = await all(generate(m, prompt, { maxTokens: 8 }));
  const stop = free[3] as number;
  const before = free.slice(0, free.indexOf(stop));
  assert.deepEqual(await all(generate(m, prompt, { maxTokens: 8, stopIds: [stop] })), before);
  const ending = llamaFromStored({ ...config, eosTokenIds: [stop] }, await storedWeights(m));
  assert.deepEqual(await all(generate(ending, prompt, { maxTokens: 8 })), before);
});

test("the model's last position can be reached, and not passed", async () => {
  await device("interpreter");
  const m = llamaFromStored({ ...config, maxPositionEmbeddings: 20 }, await storedWeights(model()));
  assert.equal((await all(generate(m, prompt, { maxTokens: 1 }))).length, 1);
  assert.equal((await all(generate(m, prompt.slice(0, 2), { maxTokens: 18 }))).length, 18);
  assert.throws(
    () => generate(m, prompt, { maxTokens: 2 }),
    /19 tokens and 2 new ones .* 20 positions\n.*at most 1 tokens/,
  );
  assert.throws(() => generate(m, [...prompt, 1], { maxTokens: 1 }), /shorten the prompt/);
});

onEachDevice("leaving the loop frees all that it took", async () => {
  const m = model();
  await all(generate(m, prompt, { maxTokens: 2, temperature: 1 }));
  const before = memory().live;
  await all(generate(m, prompt, { maxTokens: 8, temperature: 1 }));
  for await (const _ of generate(m, prompt, { maxTokens: 8 })) break;
  assert.ok(memory().live <= before); // less where the collector found something of an earlier test
});

test("a session cannot be used after dispose, and disposing twice is harmless", async () => {
  await device("interpreter");
  const session = new Session(model(), { capacity: 32 });
  await session.next(prompt);
  session[Symbol.dispose]();
  session.dispose();
  await assert.rejects(session.next([1]), DisposedError);
});

test("the text comes in whole characters", async () => {
  await device("interpreter");
  const tokenizer = trainBpe(
    linesWithEndings("Call me Ishmael. Some years ago, never mind how long precisely.\n".repeat(8)),
    { vocabSize: 280 },
  );
  const m = llama({ ...config, vocabSize: tokenizer.vocabSize }).init(key(1));
  const options = { maxTokens: 30, temperature: 1, seed: 4 };
  const ids = await all(generate(m, tokenizer.encode("Call me"), options));
  const pieces = await all(generateText(m, tokenizer, "Call me", options));
  assert.equal(pieces.join(""), tokenizer.decode(ids, { skipSpecialTokens: true }));
});

test("bad requests are refused before anything runs", async () => {
  await device("interpreter");
  const m = model();
  const refused = (begin: readonly number[], options: GenerateOptions, message: RegExp) =>
    assert.throws(
      () => generate(m, begin, options),
      (e: unknown) => e instanceof ArgumentError && message.test(e.message),
    );
  refused([], {}, /at least one token/);
  refused([1, 300], {}, /below 300, got 300/);
  refused([-1], {}, /got -1/);
  refused([1.5], {}, /got 1.5/);
  refused([1], { maxTokens: 0 }, /maxTokens/);
  refused([1], { maxTokens: Number.NaN }, /maxTokens/);
  refused([1], { temperature: -1 }, /temperature/);
  refused([1], { temperature: Number.NaN }, /temperature/);
  refused([1], { seed: 0.5 }, /whole number/);
  assert.throws(() => new Session(m, { capacity: 257 }), /256 positions/);
  assert.throws(() => new Session(llama(config)), /no value yet/);
  const session = new Session(m, { capacity: 1 });
  await assert.rejects(session.next(new Array<number>(65).fill(1)), /do not fit its 64 positions/);
});

onEachDevice("a model with NaN in it says so instead of choosing", async () => {
  const broken = tree.map((w) => w.mul(Number.NaN), model());
  await assert.rejects(all(generate(broken, prompt)), NonFiniteError);
});
