/** Every code point in normalizers, steps that cut and classes of expressions, beside the Rust library: which has not assigned
 *  all characters that this engine has. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import process from "node:process";
import { describe, test } from "node:test";
import { readNormalizer } from "./normalizer.ts";
import { readPreTokenizer } from "./pre-tokenizer.ts";

const { library, normalizers, steps, classes } = JSON.parse(
  readFileSync(new URL("../../../../tests/fixtures/tokenizer/characters.json", import.meta.url), "utf8"),
) as { library: string } & Record<"normalizers" | "steps" | "classes", Record<string, string>>;

const points = Array.from({ length: 0x110000 }, (_, code) => code)
  .filter((code) => code < 0xd800 || code > 0xdfff)
  .map((code) => String.fromCodePoint(code));
const blocks = Array.from({ length: Math.ceil(points.length / 4096) }, (_, i) =>
  points.slice(4096 * i, 4096 * (i + 1)),
);

function cuts(source: object): string {
  const hash = createHash("sha256");
  const { into } = readPreTokenizer(source);
  for (const block of blocks) {
    const text = block.join("\u0001");
    const lengths: number[] = [];
    into((_, start, end) => lengths.push(end - start))(text, 0, text.length, true);
    hash.update(Uint8Array.from(lengths));
  }
  return hash.digest("hex");
}

const old = Number(process.versions.unicode) < 17 && "this engine knows fewer characters than the library";

describe(`every code point is what it is in ${library}`, { skip: old }, () => {
  for (const [name, expected] of Object.entries(normalizers)) {
    test(`normalizer ${name}`, () => {
      const types = name.split(" ").map((type) => ({ type }));
      const hash = createHash("sha256");
      const normalizer = readNormalizer({ type: "Sequence", normalizers: types });
      for (const block of blocks) {
        const text = block.map((c) => `${c}|a\u0345${c}\u0334`).join("\u0001");
        hash.update(normalizer?.apply(text) ?? "");
      }
      assert.equal(hash.digest("hex"), expected);
    });
  }
  for (const [name, expected] of Object.entries(steps)) {
    test(`pre-tokenizer ${name}`, () => {
      assert.equal(cuts({ type: name, individual_digits: true }), expected);
    });
  }
  for (const [name, expected] of Object.entries(classes)) {
    test(`class ${name}`, () => {
      assert.equal(cuts({ type: "Split", pattern: { Regex: name }, behavior: "Isolated" }), expected);
    });
  }
});
