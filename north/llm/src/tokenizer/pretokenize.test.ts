import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { onigurumaRegExp } from "./oniguruma.ts";
import { patternSources, pretokenize } from "./pretokenize.ts";

const units = fc.constantFrom(
  ...Array.from(
    " \t\n\r\u000b\u0085\u00a0\u3000\u2028\ufeff\u200b'sStTrReEvVmMlLdDſaé中😀𐌰𝟘19²Ⅷ.!-_<\u0301\u00ad\u0000",
  ),
  "  ",
  "Ab",
  "AB/",
  "ǅʰ",
  "'s",
  "'LL",
  "\r\n",
  "\u{e0001}",
);

for (const name of ["gpt2", "llama3", "qwen2", "o200k"] as const) {
  test(`the scanner cuts where the expression of ${name} does`, () => {
    const expression = onigurumaRegExp(patternSources[name], name);
    const text = fc.oneof(fc.string({ unit: units, maxLength: 40 }), fc.string({ unit: "binary", maxLength: 20 }));
    fc.assert(
      fc.property(text, (sample) => {
        const pieces: string[] = [];
        pretokenize(sample, name, (start, end) => pieces.push(sample.slice(start, end)));
        assert.deepEqual(pieces, sample.match(expression) ?? []);
      }),
      { numRuns: 5000 },
    );
  });
}

test("a megabyte of one kind is one piece, and takes no stack", () => {
  for (const unit of [" ", "a", "!", "\n"]) {
    let pieces = 0;
    pretokenize(unit.repeat(1e6), "llama3", () => pieces++);
    assert.equal(pieces, 1);
  }
});
