import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ArgumentError } from "sinan";
import { linesWithEndings, trainBpe } from "./index.ts";
import type { Tokenizer } from "./index.ts";
import { corpus, expected, mobyDick, tokenizerFile } from "./tokenizer.fixture.ts";

const sha256 = (value: unknown): string => createHash("sha256").update(JSON.stringify(value)).digest("hex");
const mergesOf = (tokenizer: Tokenizer) => tokenizer.toJSON().model.merges;

describe(`trainBpe learns what ${expected.library} learns`, () => {
  test("from one text, with special tokens: the whole file is the same", () => {
    const trained = trainBpe(corpus, { vocabSize: 700, specialTokens: ["<|endoftext|>", "<|pad|>"] });
    assert.deepEqual(JSON.parse(JSON.stringify(trained)), JSON.parse(tokenizerFile("gpt2")));
  });

  test("cut as LLaMA-3 does", () => {
    const trained = trainBpe(corpus, { vocabSize: 600, pattern: "llama3" });
    assert.deepEqual(mergesOf(trained), JSON.parse(tokenizerFile("llama3")).model.merges);
  });

  test("cut as Qwen2 does", () => {
    const trained = trainBpe(corpus, { vocabSize: 500, pattern: "qwen2", specialTokens: ["<|endoftext|>"] });
    assert.deepEqual(mergesOf(trained), JSON.parse(tokenizerFile("qwen2")).model.merges);
  });

  test("not cut at all", () => {
    assert.deepEqual(
      JSON.parse(JSON.stringify(trainBpe(corpus, { vocabSize: 330, pattern: "none" }))),
      JSON.parse(tokenizerFile("whole")),
    );
  });

  test("from a file, line by line, with a least frequency of 2", () => {
    const trained = trainBpe(linesWithEndings(corpus), { vocabSize: 600, minFrequency: 2 });
    assert.deepEqual(mergesOf(trained), expected.byLine.merges);
  });

  expected.ties.forEach(({ text, merges }, i) => {
    test(`until no pair is left, ties and overlaps included (${i})`, () => {
      const trained = trainBpe(text, { vocabSize: 1000 });
      assert.deepEqual(mergesOf(trained), merges);
      assert.equal(new Set(mergesOf(trained).map((pair) => pair.join(" "))).size, merges.length);
    });
  });

  test("from Moby-Dick, and gives the same ids", () => {
    const { vocabSize, mergesSha256, tokens, idsSha256 } = expected.mobyDick;
    const book = mobyDick();
    const trained = trainBpe(book, { vocabSize, specialTokens: ["<|endoftext|>"] });
    assert.equal(sha256(mergesOf(trained)), mergesSha256);
    const ids = trained.encode(book);
    assert.equal(ids.length, tokens);
    assert.equal(sha256([...ids]), idsSha256);
    assert.equal(trained.decode(ids), book);
  });
});

test("an asynchronous text gives the same tokenizer, as a promise", async () => {
  async function* chunks() {
    yield* linesWithEndings(corpus);
  }
  const trained = await trainBpe(chunks(), { vocabSize: 400 });
  assert.deepEqual(trained.toJSON(), trainBpe([...linesWithEndings(corpus)], { vocabSize: 400 }).toJSON());
});

test("progress ends at the number of merges made", () => {
  const seen: number[] = [];
  trainBpe(corpus, { vocabSize: 500, onProgress: ({ merges }) => seen.push(merges) });
  assert.deepEqual(seen, [64, 128, 192, 244]);
});

test("a text too small for the vocabulary gives a smaller one", () => {
  assert.equal(trainBpe("ab ab", { vocabSize: 5000 }).vocabSize, 256 + 2);
});

test("what is trained on any text encodes and decodes any text", () => {
  const text = fc.string({ unit: "binary", maxLength: 200 });
  fc.assert(
    fc.property(text, text, fc.constantFrom("gpt2", "llama3", "qwen2", "none"), (training, sample, pattern) => {
      fc.pre(training !== "");
      const trained = trainBpe(training, { vocabSize: 320, pattern, specialTokens: ["<|endoftext|>"] });
      assert.equal(trained.decode(trained.encode(sample)), sample);
      assert.equal(trained.decode(trained.encode(training)), training);
    }),
    { numRuns: 300 },
  );
});

describe("absurd options are refused", () => {
  const cases: [string, RegExp, () => unknown][] = [
    [
      "a vocabulary below 256",
      /vocabSize must be an integer from 256 .* got 255/,
      () => trainBpe("a", { vocabSize: 255 }),
    ],
    ["no room for special tokens", /from 257/, () => trainBpe("a", { vocabSize: 256, specialTokens: ["<s>"] })],
    ["a vocabulary of NaN", /got NaN/, () => trainBpe("a", { vocabSize: Number.NaN })],
    ["a vocabulary of 1e9", /got 1000000000/, () => trainBpe("a", { vocabSize: 1e9 })],
    ["a negative frequency", /minFrequency/, () => trainBpe("a", { vocabSize: 300, minFrequency: -1 })],
    ["an empty text", /the text is empty/, () => trainBpe("", { vocabSize: 300 })],
    ["no text", /the text is empty/, () => trainBpe([], { vocabSize: 300 })],
    ["an empty special token", /not be empty/, () => trainBpe("a", { vocabSize: 300, specialTokens: [""] })],
    ["a special token twice", /given twice/, () => trainBpe("a", { vocabSize: 300, specialTokens: ["<s>", "<s>"] })],
    [
      "a special token in the byte alphabet",
      /spells other bytes/,
      () => trainBpe("a", { vocabSize: 300, specialTokens: ["Ġa"] }),
    ],
  ];
  for (const [name, message, run] of cases) {
    test(name, () => assert.throws(run, (error) => error instanceof ArgumentError && message.test(error.message)));
  }
});
