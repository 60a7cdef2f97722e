import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { tokenizerFromJson } from "./index.ts";
import { pretokenize } from "./pretokenize.ts";

/** What each part of a `tokenizer.json` does, by the Rust library: see tests/fixtures/tokenizer/make_features.py. */
interface Case {
  readonly name: string;
  readonly vocabulary: string;
  readonly flags: object;
  readonly parts: object;
  readonly ids: readonly (readonly number[])[];
  readonly decoded: readonly string[];
  /** With the special tokens around the text, and without them again; absent where nothing is different. */
  readonly whole?: readonly (readonly number[])[];
  readonly skipped?: readonly string[];
  /** With special tokens read as text. */
  readonly asText?: readonly (readonly number[])[];
}

const { library, samples, everyCodePoint, vocabularies, cases } = JSON.parse(
  readFileSync(new URL("../../../../tests/fixtures/tokenizer/features.json", import.meta.url), "utf8"),
) as {
  library: string;
  samples: string[];
  everyCodePoint: Record<"gpt2" | "llama3" | "o200k", string>;
  vocabularies: Record<string, object>;
  cases: Case[];
};

describe(`each part of tokenizer.json does what it does in ${library}`, () => {
  for (const one of cases) {
    const { name, vocabulary, flags, parts, ids, decoded, whole = ids, skipped = decoded, asText = ids } = one;
    test(name, () => {
      const file = { version: "1.0", ...parts, model: { ...vocabularies[vocabulary], ...flags } };
      const tokenizer = tokenizerFromJson(file);
      const again = tokenizerFromJson(JSON.stringify(tokenizer));
      samples.forEach((text, i) => {
        const expected = ids[i] ?? [];
        const encoded = tokenizer.encode(text);
        assert.deepEqual([...encoded], expected, JSON.stringify(text));
        assert.deepEqual([...tokenizer.encode(text)], expected, "from the cache");
        assert.deepEqual([...again.encode(text)], expected, "written and read again");
        assert.deepEqual([...tokenizer.encode(text, { addSpecialTokens: true })], whole[i]);
        assert.deepEqual([...tokenizer.encode(text, { specialTokensAsText: true })], asText[i]);
        assert.equal(tokenizer.decode(expected), decoded[i]);
        assert.equal(tokenizer.decode(whole[i] ?? [], { skipSpecialTokens: true }), skipped[i]);
        const stream = tokenizer.streamDecoder();
        let shown = "";
        for (const id of expected) {
          shown += stream.push(id);
          assert.ok(decoded[i]?.startsWith(shown), "what was shown stays");
        }
        assert.equal(shown + stream.end(), decoded[i]);
      });
    });
  }
});

for (const name of ["gpt2", "llama3", "o200k"] as const) {
  test(`${name}: texts with every code point are cut as by ${library}`, () => {
    const points: string[] = [];
    for (let code = 0; code < 0x110000; code++) {
      if (code < 0xd800 || code > 0xdfff) points.push(String.fromCodePoint(code));
    }
    const hash = createHash("sha256");
    for (let begin = 0; begin < points.length; begin += 4096) {
      const text = points.slice(begin, begin + 4096).map((c) => `x${c}X${c}1 ${c}${c}`);
      const lengths: number[] = [];
      pretokenize(text.join(""), name, (start, end) => lengths.push(end - start));
      hash.update(Uint8Array.from(lengths));
    }
    assert.equal(hash.digest("hex"), everyCodePoint[name]);
  });
}
