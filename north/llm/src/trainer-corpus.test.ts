import assert from "node:assert/strict";
import test from "node:test";
import { device, key, tensor } from "sinan";
import { llamaConfigFromJson } from "./config.ts";
import { llama } from "./model/index.ts";
import { type Corpus, corpusOf, heldOutLoss } from "./trainer-corpus.ts";
import { trainBpe } from "./tokenizer/index.ts";

const vocabulary = 256;
const config = llamaConfigFromJson({
  model_type: "llama",
  vocab_size: vocabulary,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  max_position_embeddings: 16,
  tie_word_embeddings: true,
  initializer_range: 0.5,
});

/** The same figure the long way: one call of the model for each token. */
async function oneByOne(
  corpus: Corpus,
  seqLen: number,
  model: ReturnType<ReturnType<typeof llama>["init"]>,
): Promise<number> {
  const { heldOutIds, heldOutStarts = [] } = corpus;
  const ids = [corpus.trainIds.at(-1) ?? 0, ...heldOutIds];
  const stride = Math.ceil(seqLen / 2);
  let nats = 0;
  for (let i = 0; i < heldOutIds.length; i++) {
    if (heldOutStarts.includes(i)) continue;
    const window = i < seqLen ? 0 : 1 + Math.floor((i - seqLen) / stride);
    const document = 1 + (heldOutStarts.findLast((start) => start <= i) ?? -1);
    const context = ids.slice(Math.max(window * stride, document), i + 1);
    const logits = (await model(tensor(Int32Array.from(context), { shape: [1, context.length] })).data()).slice(
      -vocabulary,
    );
    const row = Array.from(logits, Number);
    const most = Math.max(...row);
    nats += most + Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0)) - (row[ids[i + 1] ?? 0] ?? Number.NaN);
  }
  return nats / (heldOutIds.length - heldOutStarts.length);
}

test("every held-out token is predicted once, from at least half a window", async () => {
  await device("interpreter");
  const model = llama(config).init(key(1));
  const tokenizer = trainBpe("ab", { vocabSize: vocabulary });
  for (const [count, seqLen, batchSize] of [
    [1, 8, 2],
    [7, 8, 1],
    [8, 8, 2],
    [9, 8, 2],
    [29, 7, 3],
    [33, 1, 4],
  ] as const) {
    const heldOutIds = Int32Array.from({ length: count }, (_, i) => (i * 37 + 5) % vocabulary);
    const corpus: Corpus = { tokenizer, trainIds: Int32Array.of(3, 4), heldOutIds, heldOutBytes: 100 };
    const { loss, bitsPerByte } = await heldOutLoss(corpus, seqLen, batchSize)(model);
    const expected = await oneByOne(corpus, seqLen, model);
    assert.ok(
      Math.abs(loss - expected) < 1e-4 * expected,
      `${count} tokens in windows of ${seqLen}: ${loss}, expected ${expected}`,
    );
    assert.ok(Math.abs(bitsPerByte - (loss * count) / (100 * Math.LN2)) < 1e-9);
  }
});

test("no held-out document is predicted from another, and what has nothing before it does not count", async () => {
  await device("interpreter");
  const model = llama(config).init(key(1));
  const tokenizer = trainBpe("ab", { vocabSize: vocabulary });
  const heldOutIds = Int32Array.from({ length: 31 }, (_, i) => (i * 37 + 5) % vocabulary);
  for (const heldOutStarts of [[], [0], [0, 1, 9, 30], [3, 5, 20]]) {
    const corpus: Corpus = { tokenizer, trainIds: Int32Array.of(3, 4), heldOutIds, heldOutBytes: 100, heldOutStarts };
    const { loss, bitsPerByte } = await heldOutLoss(corpus, 8, 2)(model);
    const expected = await oneByOne(corpus, 8, model);
    assert.ok(Math.abs(loss - expected) < 1e-4 * expected, `${heldOutStarts}: ${loss}, expected ${expected}`);
    const left = heldOutStarts.length; // a token of this vocabulary is a byte
    assert.ok(Math.abs(bitsPerByte - (loss * (31 - left)) / ((100 - left) * Math.LN2)) < 1e-9);
  }
});

test("the text is cut at a line's end, never inside a character, and nothing is lost", () => {
  const encoder = new TextEncoder();
  const texts = ["one line\n".repeat(100), "\u{1F40B}".repeat(300), "x".repeat(500), "\u6d77\n".repeat(90)];
  for (const text of texts) {
    const bytes = encoder.encode(text);
    const { tokenizer, trainIds, heldOutIds, heldOutBytes } = corpusOf(
      { bytes, hash: "", name: "text" },
      { heldOut: 0.1, vocabSize: 260, seqLen: 4 },
    );
    const [before, after] = [tokenizer.decode(trainIds), tokenizer.decode(heldOutIds)];
    assert.equal(before + after, text);
    assert.equal(encoder.encode(after).length, heldOutBytes);
    assert.ok(Math.abs(heldOutBytes / bytes.length - 0.1) < 0.03);
    if (text.includes("\n")) assert.ok(before.endsWith("\n"));
  }
});
