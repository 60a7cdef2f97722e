/** The binary file of token ids that a text is kept as, with its hash right or wrong. */
import assert from "node:assert/strict";
import { sha256, sha256Hex } from "sinan";
import { openTokenFile, tokenFileChunks } from "../../north/train/src/data/token-file.ts";
import type { Format } from "./format.ts";
import { damagedBytes, damagedJson } from "./mutate.ts";

async function* ids(): AsyncGenerator<ArrayLike<number> | "end of document"> {
  yield await Promise.resolve([1, 2, 3, 60000]);
  yield "end of document";
  yield [5, 6, 7];
  yield "end of document";
}
const made = {
  sources: [{ name: "a.txt", size: 9, modified: 1, sha256: "0".repeat(64) }],
  tokenizer: "t",
  options: {},
};
const parts: Uint8Array[] = [];
for await (const part of tokenFileChunks(ids(), { idBytes: 2, digest: sha256() }, () => ({
  ...made,
  skippedLines: 0,
  made: 5,
})))
  parts.push(Uint8Array.from(part));
const valid = Uint8Array.from(parts.flatMap((part) => [...part]));

const tailBytes = 4 + 64 + 8;
const recordBytes = new DataView(valid.buffer).getUint32(valid.length - tailBytes, true);
const recordAt = valid.length - tailBytes - recordBytes;
const record: unknown = JSON.parse(new TextDecoder().decode(valid.subarray(recordAt, recordAt + recordBytes)));

/** The file with the hash that it should have. */
function signed(bytes: Uint8Array): Uint8Array {
  if (bytes.length < 72) return bytes;
  const all = Uint8Array.from(bytes);
  all.set(new TextEncoder().encode(sha256Hex(all.subarray(0, all.length - 72))), all.length - 72);
  return all;
}

export const format: Format = {
  input(random) {
    if (random.once(2)) {
      const damaged = damagedBytes(valid, random);
      return random.once(2) ? damaged : signed(damaged);
    }
    const text = new TextEncoder().encode(damagedJson(record, random));
    const all = new Uint8Array(recordAt + text.length + tailBytes);
    all.set(valid.subarray(0, recordAt));
    all.set(text, recordAt);
    all.set(valid.subarray(valid.length - tailBytes), recordAt + text.length);
    new DataView(all.buffer).setUint32(recordAt + text.length, text.length, true);
    return signed(all);
  },
  async read(bytes) {
    const open = {
      size: bytes.length,
      read(offset: number, length: number) {
        assert.ok(offset >= 0 && length >= 0 && offset + length <= bytes.length, "a read inside of the file");
        return Promise.resolve(bytes.slice(offset, offset + length));
      },
      close: () => Promise.resolve(),
    };
    const file = await openTokenFile(open, "fuzz.tokens", { digest: sha256() });
    const all = await file.read(0, file.record.tokens);
    assert.equal(all.length, file.record.tokens);
    assert.equal(file.lengths.length, file.record.documents);
  },
};
