import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { patternSources, pretokenize } from "./pretokenize.ts";

/** The published expression in JavaScript's dialect: `\s` is Unicode's White_Space in Oniguruma, and the one group that
 *  ignores case is spelt out (an s has two lower-case forms). */
function javaScript(source: string): RegExp {
  const translated = source
    .replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'[sSſ]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]")
    .replaceAll("\\s", "\\p{White_Space}")
    .replaceAll("\\S", "\\P{White_Space}");
  return new RegExp(translated, "gu");
}

const units = fc.constantFrom(
  ...Array.from(
    " \t\n\r\u000b\u0085\u00a0\u3000\u2028\ufeff\u200b'sStTrReEvVmMlLdDſaé中😀𐌰𝟘19²Ⅷ.!-_<\u0301\u00ad\u0000",
  ),
  "  ",
  "'s",
  "'LL",
  "\r\n",
  "\u{e0001}",
);

for (const name of ["gpt2", "llama3", "qwen2"] as const) {
  test(`the scanner cuts where the expression of ${name} does`, () => {
    const expression = javaScript(patternSources[name]);
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
