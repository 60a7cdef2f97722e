/** A text that a tokenizer is given in parts, as a stream of a large file comes, has the ids of the whole. */
import assert from "node:assert/strict";
import test from "node:test";
import { openTokens, textFile } from "@sinan/train";
import { memoryFiles } from "sinan";
import { tokenizerFromJson } from "./read-json.ts";
import { corpus, mobyDick, tokenizerFile } from "./tokenizer.fixture.ts";
import { trainBpe } from "./train.ts";

const book = mobyDick();
const texts = {
  "a book": book,
  "a book with line ends of two characters": book.slice(0, 700_000).replaceAll("\n", "\r\n"),
  "many scripts": corpus.repeat(Math.ceil(600_000 / corpus.length)),
  "no blanks": "\u{1F40B}鯨".repeat(200_000),
};

for (const name of ["gpt2", "llama3", "qwen2", "trained here"]) {
  test(`${name}: the ids of a text in parts are those of the whole`, async () => {
    const tokenizer =
      name === "trained here"
        ? trainBpe(book.slice(0, 200_000), { vocabSize: 512 })
        : tokenizerFromJson(tokenizerFile(name));
    const files = memoryFiles();
    for (const [what, text] of Object.entries(texts)) {
      await files.write("text.txt", [new TextEncoder().encode(text)]);
      const tokens = await openTokens(files, [await textFile(files, "text.txt")], {
        tokenizer,
        cache: "cache",
        onWarning: () => undefined,
      });
      const ids = await tokens.read(0, tokens.record.tokens);
      if (what === "no blanks") assert.equal(tokenizer.decode(ids), text);
      else {
        const whole = tokenizer.encode(text);
        assert.ok(ids.length === whole.length && ids.every((id, i) => id === whole[i]), what);
      }
    }
  });
}
