/** Evaluation of a text against the probabilities of its tokens, one by one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ArgumentError, device, key, tensor } from "sinan";
import { llamaConfig } from "./config.ts";
import { evaluateText } from "./evaluate.ts";
import { llama } from "./model/llama.ts";
import { linesWithEndings, trainBpe } from "./tokenizer/index.ts";
import { tinyShape } from "./tiny.fixture.ts";

const text = "Call me Ishmael. Some years ago – never mind how long precisely.\n";
const tokenizer = trainBpe(linesWithEndings(text.repeat(3)), { vocabSize: 270 });
const config = llamaConfig("llama-tiny", {
  vocabSize: tokenizer.vocabSize,
  ...tinyShape,
  initializerRange: 0.4,
  maxPositionEmbeddings: 64,
});

test("every token but the first is predicted once, from all before it where the window holds them", async () => {
  await device("interpreter");
  const model = llama(config).init(key(2));
  const ids = tokenizer.encode(text);
  assert.ok(ids.length > 24 && ids.length <= 64);
  const found = await evaluateText(model, tokenizer, text);
  const p = await model(tensor(ids, { shape: [1, ids.length] }))
    .logSoftmax()
    .data();
  let nats = 0;
  for (let t = 1; t < ids.length; t++) nats -= Number(p[(t - 1) * config.vocabSize + (ids[t] ?? 0)]);
  const bytes = new TextEncoder().encode(text).length - tokenizer.decodeBytes([ids[0] ?? 0]).length;
  assert.deepEqual([found.tokens, found.bytes], [ids.length - 1, bytes]);
  assert.ok(Math.abs(found.loss - nats / found.tokens) < 1e-5);
  assert.ok(Math.abs(found.perplexity - Math.exp(nats / found.tokens)) < 1e-3);
  assert.ok(Math.abs(found.bitsPerByte - nats / bytes / Math.LN2) < 1e-5);
  // With short windows each token still counts once.
  assert.equal((await evaluateText(model, tokenizer, text, { seqLen: 8, batchSize: 3 })).tokens, ids.length - 1);
});

test("texts that are too short, and windows that the model has no positions for, are refused", async () => {
  await device("interpreter");
  const model = llama(config).init(key(2));
  for (const short of ["", "C"]) await assert.rejects(evaluateText(model, tokenizer, short), ArgumentError);
  for (const seqLen of [0, 65, 1.5, Number.NaN])
    await assert.rejects(evaluateText(model, tokenizer, text, { seqLen }), /seqLen: expected from 1 to/);
  await assert.rejects(evaluateText(model, tokenizer, text, { batchSize: 0 }), /batchSize/);
});
