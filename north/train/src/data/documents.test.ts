/** Documents of files that come in pieces are those of the whole, wherever the pieces end and whatever the bytes are. SINAN_STRESS=1000000
 *  tries so many damaged files. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { FormatError } from "sinan";
import { documentsOf, type DocumentOptions, pieceBytes } from "./documents.ts";
import { blobFile, type TextFile } from "./text-file.ts";

interface Read {
  readonly documents: readonly string[];
  readonly skipped: number;
  readonly bytes: number;
}

async function read(file: TextFile, options: DocumentOptions = {}): Promise<Read> {
  const documents: string[] = [];
  let [text, skipped, bytes] = ["", 0, 0];
  const told = { piece: (piece: Uint8Array) => void (bytes += piece.length), skipped: () => void skipped++ };
  for await (const part of documentsOf(file, options, told)) {
    text += part.text;
    if (part.last) documents.push(text);
    if (part.last) text = "";
  }
  return { documents, skipped, bytes };
}

const file = (name: string, ...parts: (string | Uint8Array<ArrayBuffer>)[]): TextFile =>
  blobFile(new Blob(parts), name);

test("lines and characters that pieces cut are whole again", async () => {
  // No period of the pieces' length: each boundary is met somewhere inside of a character.
  const texts = Array.from({ length: 9000 }, (_, i) => `${i} \u{1F40B} 鯨 é `.repeat(1 + (i % 17)));
  texts[4000] = "長い".repeat(400_000);
  const lines = texts.map((text) => JSON.stringify({ text }));
  for (const end of ["\n", "\r\n"]) {
    const { documents, bytes } = await read(file("a.jsonl", lines.join(end)));
    assert.ok(bytes > 3 * pieceBytes);
    assert.equal(documents.length, texts.length);
    documents.forEach((text, i) => assert.ok(text === texts[i], `line ${i + 1}`));
  }
  const whole = texts.join("");
  const [document] = (await read(file("a.txt", whole))).documents;
  assert.ok(document === whole);
});

test("a line without an end is not held, and is skipped as one", async () => {
  const long = 70 * pieceBytes;
  const after = new TextEncoder().encode('\n{"text": "after"}\n');
  const endless: TextFile = {
    name: "a.jsonl",
    size: long + after.length,
    modified: null,
    open: async () => ({
      size: long + after.length,
      read: async (from, length) =>
        from < long ? new Uint8Array(length).fill(97) : after.slice(from - long, from - long + length),
      close: async () => undefined,
    }),
  };
  await assert.rejects(read(endless), /a\.jsonl: line 1: it is longer than 67108864 bytes/);
  const { documents, skipped } = await read(endless, { onBadLine: "skip" });
  assert.deepEqual([documents, skipped], [["after"], 1]);
});

/** A line as JSON.parse and the decoder see it: its text, null for an empty one, false for a bad one. */
function plainly(bytes: Uint8Array): string | null | false {
  try {
    const line = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (line.trim() === "") return null;
    const value = JSON.parse(line) as unknown;
    const has = typeof value === "object" && value !== null && !Array.isArray(value) && Object.hasOwn(value, "text");
    const text = has ? (value as { text: unknown }).text : undefined;
    return typeof text === "string" ? text : false;
  } catch {
    return false;
  }
}

function linesOf(bytes: Uint8Array): Uint8Array[] {
  const lines: Uint8Array[] = [];
  let from = 0;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, from)) {
    lines.push(bytes.subarray(from, at));
    from = at + 1;
  }
  return [...lines, bytes.subarray(from)];
}

const good = fc.record({ text: fc.string({ unit: "binary" }), other: fc.jsonValue() }).map((v) => JSON.stringify(v));
const line = fc.oneof(
  good.map((text) => new TextEncoder().encode(text)),
  fc.json().map((text) => new TextEncoder().encode(text)),
  fc.uint8Array({ maxLength: 20 }),
  fc.tuple(good, fc.nat(), fc.nat(255)).map(([text, at, byte]) => {
    const bytes = new TextEncoder().encode(text);
    return bytes.fill(byte, at % bytes.length, (at % bytes.length) + 1);
  }),
);

test("damaged lines are a FormatError with their number, or are skipped; nothing else happens", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 6 }), async (lines) => {
      const bytes = Uint8Array.from(lines.flatMap((some) => [...some, 10]));
      const seen = linesOf(bytes).map(plainly);
      const { documents, skipped } = await read(file("a.jsonl", bytes), { onBadLine: "skip" });
      assert.deepEqual(
        documents,
        seen.filter((text) => typeof text === "string"),
      );
      assert.equal(skipped, seen.filter((text) => text === false).length);
      const first = seen.indexOf(false);
      if (first < 0) assert.deepEqual((await read(file("a.jsonl", bytes))).documents, documents);
      else
        await assert.rejects(
          read(file("a.jsonl", bytes)),
          (error: unknown) => error instanceof FormatError && error.message.startsWith(`a.jsonl: line ${first + 1}: `),
        );
    }),
    { numRuns: Math.max(500, Number(process.env["SINAN_STRESS"] ?? 0)) },
  );
});

const packed = async (text: string): Promise<Uint8Array<ArrayBuffer>> =>
  new Uint8Array(
    await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer(),
  );

const host = globalThis as { readonly process?: { getBuiltinModule?: unknown } };

/** The tests of gzip files are run as in Node, where there is Node, and as in a page. */
for (const hasNodesStreams of host.process?.getBuiltinModule ? [true, false] : [false]) {
  const where = hasNodesStreams ? "Node" : "a page";
  const gzipTest = (name: string, run: () => Promise<void>): void =>
    void test(`in ${where}: ${name}`, async () => {
      const { process } = host;
      const kept = process?.getBuiltinModule;
      if (process && !hasNodesStreams) process.getBuiltinModule = undefined;
      try {
        await run();
      } finally {
        if (process && !hasNodesStreams) process.getBuiltinModule = kept;
      }
    });

  gzipTest("files named .gz are unpacked as they are read, and damaged ones refused", async () => {
    const texts = Array.from({ length: 30_000 }, (_, i) => `${i} \u{1F40B} 鯨 ${"é".repeat(i % 97)}`);
    const lines = texts.map((text) => JSON.stringify({ text })).join("\n");
    const bytes = await packed(lines);
    const whole = await read(file("a.jsonl.gz", bytes));
    assert.equal(whole.bytes, bytes.length, "the hash is of the file as it is");
    assert.ok(bytes.length < lines.length / 2);
    assert.deepEqual(whole.documents, texts);
    assert.deepEqual((await read(file("A.TXT.GZ", await packed(texts[9] ?? "")))).documents, [texts[9]]);
    assert.deepEqual((await read(file("empty.txt.gz", await packed("")))).documents, [""]);
    if (hasNodesStreams)
      assert.deepEqual((await read(file("two.txt.gz", await packed("one "), await packed("two")))).documents, [
        "one two",
      ]);
    const flipped = bytes.slice();
    flipped[bytes.length >> 1] = (flipped[bytes.length >> 1] ?? 0) ^ 255;
    for (const bad of [
      bytes.slice(0, -20),
      bytes.slice(0, 5),
      new Uint8Array(0),
      flipped,
      new TextEncoder().encode(lines),
    ])
      await assert.rejects(
        read(file("a.jsonl.gz", bad), { onBadLine: "skip" }),
        (error: unknown) =>
          error instanceof FormatError && error.message.startsWith("a.jsonl.gz: expected a gzip file"),
      );
  });

  gzipTest("a gzip file that cannot be read says why, and one of which the beginning is enough is let go", async () => {
    let state = 1;
    const digits = (): string => (state = Math.imul(state, 1664525) + 1013904223).toString(36);
    const noise = (): string => Array.from({ length: 200 }, digits).join("");
    const lines = Array.from({ length: 1500 }, (_, i) => JSON.stringify({ text: i === 0 ? "0" : noise() }));
    const bytes = await packed(lines.join("\n"));
    let closed = 0;
    const one = (fail: boolean): TextFile => ({
      name: "a.jsonl.gz",
      size: bytes.length,
      modified: null,
      open: async () => ({
        size: bytes.length,
        read: async (from, length) => {
          if (fail && from > 0) throw new RangeError("no such place");
          return bytes.slice(from, from + length);
        },
        close: async () => void closed++,
      }),
    });
    assert.ok(bytes.length > pieceBytes);
    await assert.rejects(read(one(true)), /RangeError: no such place/);
    for await (const { text } of documentsOf(one(false), {}, { piece: () => undefined, skipped: () => undefined })) {
      assert.equal(text, "0");
      break;
    }
    assert.equal(closed, 2);
  });
}
