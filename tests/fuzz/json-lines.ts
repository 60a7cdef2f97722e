/** JSON lines: what is read of them is text, document by document; with bad lines skipped, only bytes that are no file at all fail. */
import assert from "node:assert/strict";
import { documentsOf } from "@sinan/train";
import type { Format } from "./format.ts";
import { damagedBytes, damagedJson } from "./mutate.ts";

const lines = [
  { text: "Call me Ishmael.", title: "Moby-Dick" },
  { id: 7, text: '人人生而自由 😀\u0000\n\t"\\', meta: { a: [1, 2, 3] } },
  { text: "" },
  { title: "without a text" },
];

export const format: Format = {
  input(random) {
    const all = Array.from({ length: 1 + random.below(5) }, () => {
      const line = random.pick(lines);
      return random.once(2) ? JSON.stringify(line) : damagedJson(line, random);
    });
    const bytes = new TextEncoder().encode(all.join(random.pick(["\n", "\r\n", "\n\n", " \n"])));
    return random.once(3) ? damagedBytes(bytes, random) : bytes;
  },
  async read(bytes) {
    const open = () =>
      Promise.resolve({
        size: bytes.length,
        read(offset: number, length: number) {
          assert.ok(offset >= 0 && length >= 0 && offset + length <= bytes.length, "a read inside of the file");
          return Promise.resolve(bytes.slice(offset, offset + length));
        },
        close: () => Promise.resolve(),
      });
    const file = { name: "fuzz.jsonl", size: bytes.length, modified: null, open };
    let skipped = 0;
    let documents = 0;
    const told = { piece: () => undefined, skipped: () => void skipped++ };
    for await (const { text, last } of documentsOf(file, { onBadLine: "skip" }, told)) {
      assert.equal(typeof text, "string");
      if (last) documents++;
    }
    let count = 0;
    for (const byte of bytes) if (byte === 10) count++;
    assert.ok(documents + skipped <= count + 1, "a document a line at most");
    for await (const { text } of documentsOf(file, { onBadLine: "throw" }, told)) assert.equal(typeof text, "string");
  },
};
