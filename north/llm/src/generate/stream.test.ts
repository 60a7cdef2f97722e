/** Streams of records: batches against single prompts, text against tokens, ends and their reasons, cancellation. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ArgumentError, device, key, memory, type Tensor, tensor } from "sinan";
import { onEachDevice } from "../../../../tests/devices.ts";
import { llamaConfig } from "../config.ts";
import { type Llama, llama } from "../model/llama.ts";
import { linesWithEndings, type Tokenizer, trainBpe } from "../tokenizer/index.ts";
import { choose } from "./choose.ts";
import type { Piece } from "./decode.ts";
import { generate, generateStream } from "./generate.ts";
import { ContextError, type Sampling, samplingOf } from "./options.ts";
import { Session } from "./session.ts";
import { processingOf } from "./step.ts";
import { tinyShape } from "../tiny.fixture.ts";

const tokenizer: Tokenizer = trainBpe(
  linesWithEndings("Call me Ishmael. Some years ago – never mind how long precisely – 我叫以实玛利。\n".repeat(8)),
  { vocabSize: 290 },
);
const config = llamaConfig("llama-tiny", {
  vocabSize: tokenizer.vocabSize,
  ...tinyShape,
  initializerRange: 0.6,
  maxPositionEmbeddings: 64,
});
const model = (): Llama => llama(config).init(key(3));
const prompts = ["Call me", "S", "Some years ago – never mind how long precisely", "我叫"];

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

const samplings: Readonly<Record<string, Sampling>> = {
  greedy: {},
  penalty: { repetitionPenalty: 1.4 },
  "top-k": { temperature: 1.3, topK: 7, seed: 3 },
  everything: { temperature: 1.3, topK: 30, topP: 0.9, minP: 0.02, repetitionPenalty: 1.2, seed: 2 ** 40 },
};

onEachDevice("prompts of different lengths give together, bit for bit, what each gives alone", async (_, name) => {
  const m = model();
  for (const kind of name === "cpu" ? ["greedy", "everything"] : ["everything"]) {
    const sampling = samplings[kind] ?? {};
    const options = { ...sampling, maxTokens: 4, logprobs: 3, stopIds: [] };
    const together = await all(generateStream(m, tokenizer, prompts, options));
    for (const [row, prompt] of prompts.entries()) {
      const seed = Number(sampling.seed ?? 0) + row;
      const alone = await all(generateStream(m, tokenizer, prompt, { ...options, seed }));
      assert.deepEqual(
        together.filter((piece) => piece.row === row),
        alone.map((piece) => ({ ...piece, row })),
      );
    }
  }
});

/** Each token from the whole text anew, of which no more than `most` tokens are kept. */
async function uncached(m: Llama, begin: readonly number[], count: number, sampling: Sampling, most = 1e9) {
  const settings = samplingOf(sampling, 1, config.vocabSize);
  let context = [...begin];
  const made: number[] = [];
  for (let i = 0; i < count; i++) {
    if (context.length > most) context = context.slice(-(most >> 1));
    // Padded behind, where no query looks, so that all lengths are one program.
    const ids = tensor(
      Int32Array.from({ length: 64 }, (_, t) => context[t] ?? 0),
      { shape: [1, 64] },
    );
    const seen = new Uint8Array(config.vocabSize);
    for (const id of context) seen[id] = 1;
    const seed = settings.seeds[0] as number;
    const place = {
      keys: tensor(Uint32Array.of(Math.floor(seed / 2 ** 32), seed >>> 0), { shape: [1, 2] }),
      position: tensor(Uint32Array.of(begin.length + i - 1)),
    };
    const mask: Tensor = tensor(seen, { shape: [1, config.vocabSize], dtype: "bool" });
    const { token } = choose(
      m(ids)
        .at(0, context.length - 1)
        .reshape([1, -1]),
      processingOf(settings),
      place,
      mask,
      null,
    );
    made.push(Number((await token.data())[0]));
    context.push(made.at(-1) as number);
  }
  return made;
}

test("with every option the tokens are those without a cache", async () => {
  await device("cpu");
  const m = model();
  const begin = Array.from(tokenizer.encode(prompts[2] as string));
  for (const [name, sampling] of Object.entries(samplings))
    assert.deepEqual(
      await all(generate(m, begin, { ...sampling, maxTokens: 5, stopIds: [] })),
      await uncached(m, begin, 5, sampling),
      name,
    );
});

test("a cache that slides gives what the newer half of the text gives", async () => {
  await device("cpu");
  const m = model();
  const sampling = { temperature: 1, repetitionPenalty: 1.3, seed: 4 };
  const begin = Array.from({ length: 60 }, (_, i) => (i * 7) % config.vocabSize);
  const options = { ...sampling, maxTokens: 9, overflow: "slide", stopIds: [] } as const;
  assert.deepEqual(await all(generate(m, begin, options)), await uncached(m, begin, 9, sampling, 64));
  const long = [...begin, ...begin];
  assert.deepEqual(
    await all(generate(m, long, { ...options, maxTokens: 3 })),
    await uncached(m, long, 3, sampling, 64),
  );
  assert.throws(() => generate(m, begin, { maxTokens: 9 }), ContextError);
  const session = new Session(m);
  await session.next(begin);
  await assert.rejects(session.next(begin), ContextError);
  session.dispose();
});

test("likelihoods are those of the model's softmax, whatever is done before the draw", async () => {
  await device("interpreter");
  const m = model();
  const begin = Array.from(tokenizer.encode("Call me"));
  const scores = m(tensor(Int32Array.from(begin), { shape: [1, begin.length] })).at(0, -1);
  const p = Array.from(await scores.logSoftmax().data(), Number);
  const [piece] = await all(
    generateStream(m, tokenizer, "Call me", { ...samplings["everything"], logprobs: 4, maxTokens: 1 }),
  );
  assert.ok(piece?.id !== undefined && piece.id !== null && piece.top && piece.logprob !== undefined);
  assert.ok(Math.abs(piece.logprob - (p[piece.id] ?? Number.NaN)) < 1e-5);
  const best = p.map((logprob, id) => ({ id, logprob })).sort((a, b) => b.logprob - a.logprob);
  assert.deepEqual(
    piece.top.map(({ id }) => id),
    best.slice(0, 4).map(({ id }) => id),
  );
  piece.top.forEach(({ logprob }, i) => assert.ok(Math.abs(logprob - (best[i]?.logprob ?? Number.NaN)) < 1e-5));
  const [bare] = await all(generateStream(m, tokenizer, "Call me", { logprobs: 0, maxTokens: 1 }));
  assert.deepEqual(bare?.top, []);
});

const free = { temperature: 1.2, maxTokens: 40, seed: 1, stopIds: [] };
const textOf = (pieces: readonly Piece[]): string => pieces.map(({ text }) => text).join("");

test("pieces are whole characters, and together the text of the tokens", async () => {
  await device("cpu");
  const m = model();
  let cut = 0;
  for (let seed = 0; seed < 8; seed++) {
    const pieces = await all(generateStream(m, tokenizer, "我", { ...free, seed }));
    const ids = pieces.flatMap(({ id }) => (id === null ? [] : [id]));
    assert.equal(textOf(pieces), tokenizer.decode(ids, { skipSpecialTokens: true }));
    assert.ok(pieces.every(({ text }) => text.isWellFormed()));
    cut += pieces.filter(({ text }) => text === "").length;
    assert.deepEqual(
      pieces.map(({ finish }) => finish),
      [...new Array<null>(39).fill(null), "length"],
    );
  }
  assert.ok(cut > 0, "no character was made of several tokens");
});

test("a stop string ends the text wherever tokens are cut, and nothing of it is given out", async () => {
  await device("cpu");
  const m = model();
  const whole = await all(generateStream(m, tokenizer, "Call me", free));
  const text = textOf(whole);
  for (const [from, to] of [
    [3, 4],
    [5, 9],
    [12, 20],
    [20, 23],
  ] as const) {
    const stop = text.slice(from, to);
    const pieces = await all(generateStream(m, tokenizer, "Call me", { ...free, stop: ["no such text", stop] }));
    assert.equal(textOf(pieces), text.slice(0, text.indexOf(stop)));
    assert.equal(pieces.at(-1)?.finish, "stop");
    // As many tokens as it took, and not one more.
    const decoder = tokenizer.streamDecoder({ skipSpecialTokens: true });
    let seen = "";
    for (const { id } of pieces) {
      assert.ok(!seen.includes(stop));
      seen += decoder.push(id as number);
    }
    assert.ok(seen.includes(stop));
  }
});

test("a row that has ended leaves the others going", async () => {
  await device("cpu");
  const m = model();
  const options = { ...free, maxTokens: 12, seed: [5, 6, 7] };
  const three = prompts.slice(0, 3);
  const whole = await all(generateStream(m, tokenizer, three, options));
  const stop = whole.filter(({ row }) => row === 1)[3]?.id as number;
  const pieces = await all(generateStream(m, tokenizer, three, { ...options, stopIds: [stop] }));
  for (const row of [0, 1, 2]) {
    const [free, ended] = [whole, pieces].map((list) => list.filter((piece) => piece.row === row).map(({ id }) => id));
    const at = free?.indexOf(stop) ?? -1;
    assert.deepEqual(ended, at < 0 ? free : free?.slice(0, at + 1));
  }
  assert.equal(pieces.filter(({ finish }) => finish !== null).length, 3);
});

onEachDevice("aborted, the memory is free at once and the last record says why", async () => {
  const m = model();
  await all(generateStream(m, tokenizer, prompts, { ...free, maxTokens: 3 }));
  const before = memory().live;
  const between = new AbortController();
  const pieces: Piece[] = [];
  for await (const piece of generateStream(m, tokenizer, prompts, { ...free, maxTokens: 30, signal: between.signal })) {
    pieces.push(piece);
    if (pieces.length === 5) {
      between.abort();
      assert.ok(memory().live <= before, "the loop is not left yet");
    }
  }
  assert.deepEqual(
    pieces.filter(({ finish }) => finish !== null).map(({ row, id, finish }) => [row, id, finish]),
    prompts.map((_, row) => [row, null, "aborted"]),
  );
  const during = new AbortController();
  const stream = generateStream(m, tokenizer, "Call me", { ...free, maxTokens: 30, signal: during.signal });
  const first = stream.next();
  during.abort();
  assert.equal((await first).value?.finish, "aborted");
  assert.equal((await stream.next()).done, true);
  // The step that was under way has its inputs until it ends.
  for (let i = 0; i < 100 && memory().live > before; i++) await new Promise((later) => setTimeout(later, 10));
  assert.ok(memory().live <= before);
  const never = await all(
    generateStream(m, tokenizer, prompts, { ...free, maxTokens: 30, signal: AbortSignal.abort() }),
  );
  assert.deepEqual(
    never.map(({ finish }) => finish),
    prompts.map(() => "aborted"),
  );
});

test("options outside their range are refused before anything runs, naming what came", async () => {
  await device("interpreter");
  const m = model();
  const wild = fc.oneof(
    fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -1, -1e-9, "1", null, {}, [], true),
    fc.double({ max: -1e-300, noNaN: true }),
  );
  const names = ["temperature", "topK", "topP", "minP", "repetitionPenalty", "seed", "logprobs", "maxTokens"];
  fc.assert(
    fc.property(fc.constantFrom(...names), wild, (name, value) => {
      assert.throws(
        () => generateStream(m, tokenizer, "Call me", { [name]: value }),
        (error: unknown) => error instanceof ArgumentError && error.message.startsWith(`${name}: expected`),
      );
    }),
  );
  const refused = (options: object, message: RegExp): void =>
    assert.throws(() => generateStream(m, tokenizer, "Call me", options), message);
  refused({ topK: 1.5 }, /topK: expected a whole number of at least 0/);
  refused({ topP: 1.01 }, /topP.*at most 1, got 1.01/);
  refused({ minP: 2 }, /minP.*at most 1/);
  refused({ repetitionPenalty: 0 }, /above 0/);
  refused({ logprobs: 1000 }, /vocabulary's 290/);
  refused({ seed: [1, 2] }, /one for each of 1 prompts, got 2/);
  refused({ stop: "" }, /not empty/);
  refused({ stop: ["a", 3] }, /not empty, got 3/);
  refused({ stopIds: [-1] }, /stopIds/);
  refused({ overflow: "grow" }, /"error" or "slide"/);
  assert.throws(() => generateStream(m, tokenizer, []), /at least one prompt/);
  assert.throws(() => new Session(m, { rows: 0 }), /1 to 65536 rows/);
});
