import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ArgumentError } from "sinan";
import { tokenizerFromJson, trainBpe } from "./index.ts";
import { mergeByHeap, mergeByScan, mergeTable } from "./merge.ts";
import { corpus, expected, tokenizerFile } from "./tokenizer.fixture.ts";

const names = Object.keys(expected.ids);
const loaded = new Map(names.map((name) => [name, tokenizerFromJson(tokenizerFile(name))]));
const gpt2 = tokenizerFromJson(tokenizerFile("gpt2"));
const llama3 = tokenizerFromJson(tokenizerFile("llama3"));

describe(`ids equal those of ${expected.library}`, () => {
  for (const [name, tokenizer] of loaded) {
    expected.samples.forEach((text, i) => {
      test(`${name}: ${JSON.stringify(text.slice(0, 40))}`, () => {
        assert.deepEqual([...tokenizer.encode(text)], expected.ids[name]?.[i]);
      });
    });
  }

  test("with the special tokens of the template around the text", () => {
    expected.samples.forEach((text, i) => {
      assert.deepEqual([...llama3.encode(text, { addSpecialTokens: true })], expected.idsWithSpecialTokens[i]);
    });
  });

  test("decoding, broken UTF-8 and special tokens included", () => {
    assert.deepEqual(
      expected.decodedIds.map((ids) => gpt2.decode(ids)),
      expected.decoded,
    );
  });
});

describe("decoding gives back the text", () => {
  for (const name of ["gpt2", "llama3", "whole"]) {
    test(`${name}: any well-formed text`, () => {
      const tokenizer = tokenizerFromJson(tokenizerFile(name));
      const text = fc.oneof(
        fc.string({ unit: "binary" }),
        fc.string({
          unit: fc.constantFrom("a", " ", "\n", "'s", "1", "é", "中", "😀", "<|endoftext|>", "\ufeff", "the"),
        }),
      );
      fc.assert(
        fc.property(text, (sample) => {
          assert.equal(tokenizer.decode(tokenizer.encode(sample)), sample);
          assert.equal(tokenizer.decode(tokenizer.encode(sample, { specialTokensAsText: true })), sample);
        }),
        { numRuns: 500 },
      );
    });
  }

  test("an unpaired surrogate becomes U+FFFD", () => {
    assert.equal(gpt2.decode(gpt2.encode("a\ud800b")), "a\ufffdb");
  });
});

test("special tokens can be read as text, and skipped when decoding", () => {
  const [end] = gpt2.encode("<|endoftext|>");
  assert.equal(end, gpt2.tokenToId("<|endoftext|>"));
  const asText = gpt2.encode("<|endoftext|>", { specialTokensAsText: true });
  assert.ok(asText.length > 1 && !asText.includes(end ?? -1));
  const ids = gpt2.encode("a<|endoftext|>b");
  assert.equal(gpt2.decode(ids), "a<|endoftext|>b");
  assert.equal(gpt2.decode(ids, { skipSpecialTokens: true }), "ab");
});

test("streaming shows only whole characters, and all of them at the end", () => {
  const text = "naïve 人人生而自由 👩‍👩‍👧‍👦 <|endoftext|>done";
  const stream = gpt2.streamDecoder();
  let shown = "";
  for (const id of gpt2.encode(text)) {
    const more = stream.push(id);
    assert.ok(!more.includes("\ufffd"));
    shown += more;
    assert.ok(text.startsWith(shown));
  }
  assert.equal(shown + stream.end(), text);
  assert.equal(stream.push(gpt2.encode("😀")[0] ?? -1), "");
  assert.equal(stream.end(), "\ufffd");
  assert.equal(gpt2.streamDecoder({ skipSpecialTokens: true }).push(gpt2.tokenToId("<|endoftext|>") ?? -1), "");
});

test("tokens and ids can be looked up", () => {
  assert.equal(gpt2.vocabSize, 700);
  assert.equal(gpt2.idToToken(gpt2.tokenToId("Ġthe") ?? -1), "Ġthe");
  assert.equal(gpt2.tokenToId("no such token"), undefined);
  assert.equal(gpt2.idToToken(700), undefined);
});

for (const id of [-1, 700, 1.5, Number.NaN]) {
  test(`decoding refuses the id ${id}`, () => {
    assert.throws(
      () => gpt2.decode([0, id]),
      (error) => error instanceof ArgumentError && /from 0 to 699/.test(error.message),
    );
    assert.throws(() => gpt2.streamDecoder().push(id), ArgumentError);
  });
}

test("a megabyte without a place to cut is encoded in n log n", () => {
  const tokenizer = trainBpe(corpus, { vocabSize: 600 });
  for (const unit of ["a", "the", "  ", "中文", "😀", "="]) {
    const text = unit.repeat(Math.ceil(1e6 / unit.length));
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text);
  }
});

test("merging by heap and by scan give the same symbols", () => {
  // Symbols 0 to 3 are letters; the merges below make 4 and up, some of them through two different pairs.
  const merges = fc.array(fc.tuple(fc.nat(9), fc.nat(9)), { maxLength: 30 });
  fc.assert(
    fc.property(merges, fc.array(fc.nat(3), { maxLength: 120 }), (drawn, letters) => {
      const results = Int32Array.from(drawn, (_, rank) => 4 + Math.floor(rank / 2));
      const table = mergeTable(Int32Array.from(drawn.flat()), results);
      const scanned = Int32Array.from(letters);
      const heaped = Int32Array.from(letters);
      const length = mergeByScan(scanned, letters.length, table);
      assert.equal(mergeByHeap(heaped, letters.length, table), length);
      assert.deepEqual(heaped.slice(0, length), scanned.slice(0, length));
    }),
    { numRuns: 1000 },
  );
});
