import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import fc from "fast-check";
import { ArgumentError, DTypeError, FormatError } from "../errors.ts";
import {
  alignedData,
  openSafetensors,
  readSafetensors,
  type RandomAccess,
  safetensorsChunks,
  type StoredDType,
  type StoredTensor,
  storedBytes,
  writeSafetensors,
} from "./safetensors.ts";

const fixtures = new URL("../../../tests/fixtures/safetensors/", import.meta.url);
const reference = new Uint8Array(readFileSync(new URL("reference.safetensors", fixtures)));
const given = JSON.parse(readFileSync(new URL("reference.json", fixtures), "utf8")) as {
  metadata: Record<string, string>;
  tensors: [name: string, dtype: StoredDType, shape: number[], hex: string][];
};
const givenTensors = new Map<string, StoredTensor>(
  given.tensors.map(([name, dtype, shape, hex]) => [name, { dtype, shape, data: bytesOf(hex) }]),
);

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** A file with this header text and so many bytes of data. */
function file(header: string | Uint8Array, dataBytes: number): Uint8Array {
  const text = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

function randomAccess(bytes: Uint8Array): RandomAccess & { bytesRead: number } {
  return {
    size: bytes.length,
    bytesRead: 0,
    read(offset, length) {
      assert.ok(offset >= 0 && length >= 0 && offset + length <= bytes.length, "a read inside the file");
      this.bytesRead += length;
      return Promise.resolve(bytes.slice(offset, offset + length));
    },
  };
}

const same = (a: StoredTensor | undefined, b: StoredTensor): void => {
  assert.deepEqual([a?.dtype, a?.shape, a && [...a.data]], [b.dtype, b.shape, [...b.data]]);
};

test("every dtype, 0-d, empty and strangely named tensors are read as the reference wrote them", () => {
  const { tensors, metadata } = readSafetensors(reference);
  assert.deepEqual(metadata, given.metadata);
  assert.equal(tensors.size, givenTensors.size);
  for (const [name, tensor] of givenTensors) same(tensors.get(name), tensor);
  for (const [name, { dtype, data }] of tensors) assert.equal(data.byteOffset % storedBytes(dtype), 0, name);
});

test("a file written here equals the reference's byte for byte", () => {
  assert.deepEqual([...writeSafetensors(givenTensors, given.metadata)], [...reference]);
  const { byteLength, chunks } = safetensorsChunks(givenTensors, given.metadata);
  assert.equal(byteLength, reference.length);
  assert.deepEqual(
    chunks.flatMap((chunk) => [...chunk]),
    [...reference],
  );
});

test("chunks are the tensors' own bytes, not copies", () => {
  const data = new Uint8Array(8);
  const { chunks } = safetensorsChunks({ w: { dtype: "f32", shape: [2], data } });
  assert.equal(chunks[1], data);
});

test("the lazy form reads the header and then only the tensor that is asked for", async () => {
  const access = randomAccess(reference);
  const lazy = await openSafetensors(access);
  assert.deepEqual(lazy.metadata, given.metadata);
  const headerBytes = access.bytesRead;
  const tensor = await lazy.tensor("bf16");
  same(tensor, givenTensors.get("bf16") as StoredTensor);
  assert.equal(access.bytesRead, headerBytes + 12);
  for (const [name, expected] of givenTensors) same(await lazy.tensor(name), expected);
  await assert.rejects(
    lazy.tensor("nope"),
    (e: Error) => e instanceof ArgumentError && /no tensor "nope"/.test(e.message),
  );
});

test("an unaligned view is copied, an aligned one is not", () => {
  const { tensors } = readSafetensors(file('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4).slice());
  const a = tensors.get("a") as StoredTensor;
  assert.notEqual(a.data.byteOffset % 4, 0);
  assert.equal(alignedData(a).byteOffset % 4, 0);
  const b = { ...a, data: new Uint8Array(4) };
  assert.equal(alignedData(b), b.data);
});

const dtypes = fc.constantFrom<StoredDType>(
  "f64",
  "f32",
  "f16",
  "bf16",
  "i64",
  "i32",
  "i16",
  "i8",
  "u8",
  "u64",
  "bool",
);
const tensors = fc
  .tuple(dtypes, fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }), fc.integer())
  .map(([dtype, shape, seed]): StoredTensor => {
    const length = shape.reduce((a, b) => a * b, storedBytes(dtype));
    return { dtype, shape, data: Uint8Array.from({ length }, (_, i) => (seed >> (i % 3)) * (i + 1)) };
  });
const names = fc.string({ unit: "grapheme", maxLength: 12 }).filter((name) => name !== "__metadata__");

test("what is written is read back, and written again the same", () => {
  const notes = fc.dictionary(names, fc.string({ unit: "grapheme" }), { maxKeys: 4, noNullPrototype: true });
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(names, tensors), { selector: ([name]) => name, maxLength: 8 }),
      notes,
      (list, metadata) => {
        const bytes = writeSafetensors(new Map(list), metadata);
        const back = readSafetensors(bytes);
        assert.deepEqual(new Map(Object.entries(back.metadata)), new Map(Object.entries(metadata)));
        assert.equal(back.tensors.size, list.length);
        for (const [name, tensor] of list) same(back.tensors.get(name), tensor);
        assert.deepEqual(writeSafetensors(back.tensors, back.metadata), bytes);
      },
    ),
  );
});

const a = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}';
const hostile: [what: string, bytes: Uint8Array, says: RegExp][] = [
  ["an empty file", new Uint8Array(0), /expected at least 8 bytes, found 0/],
  ["a header length without a header", file("", 0), /must begin with "\{"/],
  [
    "a header of 2^63 bytes",
    Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 128, 123, 125),
    /header length: the format allows 100000000/,
  ],
  [
    "a header longer than the file",
    Uint8Array.of(200, 0, 0, 0, 0, 0, 0, 0, 123, 125),
    /header length: the file says 200 bytes, 2 follow/,
  ],
  ["a header that is an array", file("[]", 0), /must begin with "\{"/],
  ["a header that is not JSON", file("{nope}", 0), /not valid JSON at character 1/],
  ["a header that is not UTF-8", file(Uint8Array.of(123, 34, 255, 34, 125), 0), /not UTF-8/],
  ["the same name twice", file(`{${a},${a}}`, 4), /the key "a" is given twice/],
  [
    "the same field twice",
    file('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
    /"dtype" is given twice/,
  ],
  [
    "an unknown dtype",
    file('{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}}', 4),
    /tensor "a": dtype: expected one of BOOL.*found "F4"/,
  ],
  ["no dtype", file('{"a":{"shape":[1],"data_offsets":[0,4]}}', 4), /tensor "a": dtype: .*found nothing/],
  ["an entry that is not an object", file('{"a":7}', 0), /tensor "a": entry: .*found 7/],
  ["a size of minus zero", file('{"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}', 0), /tensor "a": shape: /],
  [
    "a negative size",
    file('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', 4),
    /tensor "a": shape: .*found \[-1\]/,
  ],
  ["a fractional size", file('{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}', 4), /tensor "a": shape/],
  [
    "sizes whose product overflows",
    file('{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}', 0),
    /tensor "a": shape: expected fewer than 2\^53 bytes/,
  ],
  [
    "offsets that are not the size",
    file('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', 4),
    /tensor "a": data_offsets: expected the size of f32\[2\], which takes 8 bytes/,
  ],
  [
    "offsets in the wrong order",
    file('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}', 4),
    /tensor "a": data_offsets/,
  ],
  [
    "three offsets",
    file('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}', 4),
    /tensor "a": data_offsets: expected \[start, end\]/,
  ],
  [
    "an offset beyond the file",
    file('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 4),
    /tensor "a": data_offsets: ends at byte 8 of the data, the file has 4/,
  ],
  [
    "two tensors in one place",
    file(`{${a},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4),
    /tensor "b": data_offsets: overlaps/,
  ],
  [
    "a hole",
    file(`{${a},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`, 12),
    /tensor "b": data_offsets: leaves a hole before it: starts at byte 8 of the data, expected 4/,
  ],
  ["bytes after the last tensor", file(`{${a}}`, 5), /the tensors end at byte 4 of the data, the file has 5/],
  ["metadata that is not strings", file('{"__metadata__":{"n":1}}', 0), /__metadata__: "n" must be a string, found 1/],
  ["nesting without end", file(`{"a":${"[".repeat(100_000)}`, 0), /nested deeper than 64 levels/],
  [
    "half a surrogate pair",
    file('{"\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
    /name: expected whole Unicode/,
  ],
];

for (const [what, bytes, says] of hostile) {
  test(`${what} is a FormatError, eager and lazy`, async () => {
    const expected = (error: unknown): boolean => error instanceof FormatError && says.test(error.message);
    assert.throws(() => readSafetensors(bytes), expected);
    await assert.rejects(openSafetensors(randomAccess(bytes)), expected);
  });
}

test("what the format allows is not refused", () => {
  const ok = (header: string, data = 0) => readSafetensors(file(header, data));
  assert.equal(ok("{}").tensors.size, 0);
  assert.equal(ok('{"__metadata__":null}   ').tensors.size, 0);
  assert.equal(
    ok('{"__proto__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4).tensors.get("__proto__")?.data.length,
    4,
  );
  assert.equal(
    ok(
      '{"e":{"dtype":"I64","shape":[0,9007199254740991],"data_offsets":[0,0]},"f":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
    ).tensors.size,
    2,
  );
});

test("mutated files never do anything but parse or throw FormatError, and read nothing out of bounds", () => {
  const small = writeSafetensors(
    {
      w: { dtype: "f32", shape: [2, 2], data: new Uint8Array(16) },
      b: { dtype: "bf16", shape: [3], data: new Uint8Array(6) },
    },
    { note: "x" },
  );
  const edit = fc.record({ at: fc.nat(small.length), drop: fc.nat(3), add: fc.uint8Array({ maxLength: 4 }) });
  const token = fc.constantFrom(
    '"',
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "0",
    "9",
    "-1",
    "1e9",
    "null",
    "\\",
    "99999999999999999999",
    "F64",
  );
  const splice = fc.record({
    at: fc.nat(small.length),
    drop: fc.nat(3),
    add: token.map((t) => new TextEncoder().encode(t)),
  });
  let parsed = 0;
  fc.assert(
    fc.property(fc.array(fc.oneof(edit, splice), { minLength: 1, maxLength: 4 }), fc.boolean(), (edits, fixLength) => {
      let bytes = small;
      for (const { at, drop, add } of edits)
        bytes = Uint8Array.from([...bytes.subarray(0, at), ...add, ...bytes.subarray(at + drop)]);
      if (fixLength && bytes.length >= 30) new DataView(bytes.buffer).setBigUint64(0, BigInt(bytes.length - 22), true);
      try {
        const { tensors } = readSafetensors(bytes);
        const total = [...tensors.values()].reduce((sum, { data }) => sum + data.length, 0);
        assert.ok(total <= bytes.length);
        parsed++;
      } catch (error) {
        assert.ok(error instanceof FormatError, String(error));
      }
    }),
    { numRuns: 3000 },
  );
  assert.ok(parsed > 10, `${parsed} of the mutated files are still whole`);
});

test("what the format cannot hold is not written", () => {
  const f32 = (shape: number[], bytes: number): StoredTensor => ({ dtype: "f32", shape, data: new Uint8Array(bytes) });
  assert.throws(() => writeSafetensors({ w: f32([2], 4) }), /tensor "w": f32\[2\] takes 8 bytes, the data has 4/);
  assert.throws(() => writeSafetensors({ w: f32([-1, -1], 4) }), ArgumentError);
  assert.throws(() => writeSafetensors({ __metadata__: f32([1], 4) }), /cannot hold this name/);
  assert.throws(() => writeSafetensors({ "\ud800": f32([1], 4) }), ArgumentError);
  const q8 = { dtype: "q8_0", shape: [32], data: new Uint8Array(34) } as unknown as StoredTensor;
  assert.throws(() => writeSafetensors({ w: q8 }), DTypeError);
});

test("20 MB of backslashes in a string that never closes fail at once", () => {
  const header = new Uint8Array(20_000_000).fill(92); // backslashes
  header.set([123, 34]);
  const start = performance.now();
  assert.throws(() => readSafetensors(file(header, 0)), FormatError);
  assert.ok(performance.now() - start < 2000);
});
