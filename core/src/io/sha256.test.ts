import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import fc from "fast-check";
import { sha256, sha256Hex } from "./sha256.ts";

const node = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

test("the examples of FIPS 180-4", () => {
  const text = (s: string) => sha256Hex(new TextEncoder().encode(s));
  assert.equal(text("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert.equal(text(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
});

test("every length around the block's edges equals node:crypto", () => {
  const bytes = Uint8Array.from({ length: 200 }, (_, i) => (i * 37 + 11) & 255);
  for (let n = 0; n <= 200; n++)
    assert.equal(sha256Hex(bytes.subarray(0, n)), node(bytes.subarray(0, n)), `${n} bytes`);
});

test("any split into pieces gives the digest of the whole", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 12 }), (pieces) => {
      const digest = sha256();
      for (const piece of pieces) digest.update(piece);
      assert.equal(digest.hex(), node(Buffer.concat(pieces)));
    }),
  );
});

test("a message longer than 2^29 bytes counts its bits in 64", {
  skip: process.env.SINAN_TEST_DEVICES === "all" ? false : "half a gigabyte: in npm run test:devices",
}, () => {
  const piece = new Uint8Array(1 << 24).fill(7);
  const digest = sha256();
  const expected = createHash("sha256");
  for (let i = 0; i < 40; i++) {
    digest.update(piece);
    expected.update(piece);
  }
  assert.equal(digest.hex(), expected.digest("hex"));
});
