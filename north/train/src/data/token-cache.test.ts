/** Ids are made once, found again, and made anew whenever they could be others; never half, never blindly. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import {
  ArgumentError,
  data,
  type Files,
  FileError,
  FormatError,
  memoryFiles,
  type MemoryFiles,
  PowerLoss,
  sha256Hex,
} from "sinan";
import { byteTokenizer } from "../fixtures/bytes.ts";
import { blobFile, textFile } from "./text-file.ts";
import { openTokens, type TokenCacheOptions, type Tokens } from "./token-cache.ts";
import { tokenSource } from "./token-source.ts";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

async function tree(texts: Record<string, string | Uint8Array>): Promise<MemoryFiles> {
  const files = memoryFiles();
  await files.mkdir("d");
  for (const [name, text] of Object.entries(texts))
    await files.write(`d/${name}`, [typeof text === "string" ? utf8(text) : text]);
  return files;
}

interface Opened {
  readonly tokens: Tokens;
  readonly warnings: readonly string[];
}

async function open(files: Files, names: readonly string[], options: Partial<TokenCacheOptions> = {}): Promise<Opened> {
  const warnings: string[] = [];
  const sources = await Promise.all(names.map((name) => textFile(files, `d/${name}`)));
  const onWarning = (message: string): void => void warnings.push(message);
  const tokens = await openTokens(files, sources, {
    tokenizer: byteTokenizer(),
    cache: "cache",
    onWarning,
    ...options,
  });
  return { tokens, warnings };
}

const all = async (tokens: Tokens): Promise<number[]> => Array.from(await tokens.read(0, tokens.record.tokens));

const lines = (...texts: string[]): string => texts.map((text) => `${JSON.stringify({ text, id: 7 })}\n`).join("");

test("texts and JSON lines become ids and the lengths of documents, once", async () => {
  const files = await tree({ "a.txt": "héllo\n", "b.jsonl": `${lines("one", "", "三")}\n  \n{"text":"last"}` });
  const first = await open(files, ["a.txt", "b.jsonl"], { endOfDocument: 256 });
  const expected = [
    [...utf8("héllo\n"), 256],
    [...utf8("one"), 256],
    [256],
    [...utf8("三"), 256],
    [...utf8("last"), 256],
  ];
  assert.deepEqual(await all(first.tokens), expected.flat());
  assert.deepEqual(
    [...first.tokens.lengths],
    expected.map(({ length }) => length),
  );
  assert.equal(first.tokens.built, true);
  const again = await open(files, ["a.txt", "b.jsonl"], { endOfDocument: 256 });
  assert.deepEqual([again.tokens.built, again.warnings], [false, []]);
  assert.deepEqual(await all(again.tokens), expected.flat());
  assert.equal(again.tokens.fingerprint, first.tokens.fingerprint);
  assert.equal((await files.list("cache")).length, 1);
});

test("ids above 65,535 take four bytes, those below two", async () => {
  const files = await tree({ "a.txt": "abc" });
  for (const [vocabSize, id, length] of [
    [65_536, 65_535, 2],
    [65_537, 65_536, 4],
    [2 ** 31, 2 ** 31 - 1, 4],
  ] as const) {
    const tokenizer = { ...byteTokenizer("wide", vocabSize), encode: () => [id, 0, id] };
    const { tokens } = await open(files, ["a.txt"], { tokenizer, cache: `cache-${vocabSize}` });
    const ids = await tokens.read(0, 3);
    assert.deepEqual([...ids], [id, 0, id]);
    assert.equal(ids.BYTES_PER_ELEMENT, length);
  }
});

test("whatever the ids follow from makes them anew when it changes", async () => {
  const files = await tree({ "a.txt": "some text", "b.txt": "more" });
  const first = await open(files, ["a.txt", "b.txt"]);
  const cases: [change: () => Promise<unknown>, options: Partial<TokenCacheOptions>, why: RegExp | null][] = [
    [async () => undefined, { tokenizer: byteTokenizer("other") }, /they are of another tokenizer/],
    [async () => undefined, {}, /they are of another tokenizer/],
    [() => files.write("d/b.txt", [utf8("most")]), {}, /d\/b\.txt changed$/],
    [() => files.write("d/b.txt", [utf8("more text")]), {}, /d\/b\.txt changed: it had 4 bytes, now 9/],
    [() => files.write("d/b.txt", [utf8("more")]), {}, /now 4/],
    [() => files.write("d/b.txt", [utf8("more")]), {}, null],
  ];
  for (const [change, options, why] of cases) {
    await change();
    const { tokens, warnings } = await open(files, ["a.txt", "b.txt"], options);
    assert.equal(tokens.built, why !== null);
    assert.equal(warnings.length, why === null ? 0 : 1);
    if (why) assert.match(warnings[0] ?? "", why);
    const now = [...(await files.read("d/a.txt")), ...(await files.read("d/b.txt"))];
    assert.deepEqual(await all(tokens), now);
  }
  const last = await open(files, ["a.txt", "b.txt"]);
  assert.equal(last.tokens.fingerprint, first.tokens.fingerprint, "the same content again is the same data");
  const other = await open(files, ["b.txt", "a.txt"]);
  assert.notEqual(other.tokens.fingerprint, first.tokens.fingerprint, "the order of the texts is that of the ids");
  const split = await open(files, ["a.txt", "b.txt"], { endOfDocument: 0 });
  assert.notEqual(split.tokens.fingerprint, first.tokens.fingerprint);
});

test("a source is hashed again where its time does not vouch for it, and not where it does", async () => {
  let opened = 0;
  const source = (modified: number | null, text: string) => {
    const file = blobFile(new Blob([text]), "a.txt");
    return { ...file, modified, open: () => (opened++, file.open()) };
  };
  const files = memoryFiles();
  const build = async (modified: number | null, text = "some"): Promise<[built: boolean, opened: number]> => {
    opened = 0;
    const tokens = await openTokens(files, [source(modified, text)], {
      tokenizer: byteTokenizer(),
      cache: "cache",
      onWarning: () => undefined,
    });
    return [tokens.built, opened];
  };
  const old = Date.now() - 60_000;
  assert.deepEqual(await build(old), [true, 1]);
  assert.deepEqual(await build(old), [false, 0]);
  assert.deepEqual(await build(old + 1), [false, 1], "touched, but the same");
  assert.deepEqual(await build(null), [false, 1]);
  assert.deepEqual(await build(old + 1, "tome"), [true, 2], "changed");
  assert.deepEqual(await build(Date.now() + 5000, "some"), [true, 2]);
  const now = Date.now();
  assert.deepEqual(await build(now, "tome"), [true, 2]);
  assert.deepEqual(await build(now, "some"), [true, 2], "changed within the clock's grain: the time is no proof");
});

test("one flipped bit, a cut or a foreign file in the cache is noticed, and the ids are made anew", async () => {
  const files = await tree({ "a.jsonl": lines("some text", "and more") });
  const { tokens } = await open(files, ["a.jsonl"]);
  const good = await files.read(tokens.path);
  const spoiled = fc.oneof(
    fc
      .tuple(fc.nat(good.length - 1), fc.nat(7))
      .map(([at, bit]) => good.map((b, i) => (i === at ? b ^ (1 << bit) : b))),
    fc.nat(good.length - 1).map((length) => good.slice(0, length)),
    fc.uint8Array({ maxLength: 300 }),
    fc.uint8Array({ minLength: 1, maxLength: 9 }).map((more) => Uint8Array.of(...good, ...more)),
    fc.nat(good.length - 1).map((from) => Uint8Array.of(...good.subarray(0, 16), ...good.subarray(from))),
  );
  await fc.assert(
    fc.asyncProperty(spoiled, async (bytes) => {
      fc.pre(String(bytes) !== String(good));
      await files.write(tokens.path, [bytes]);
      const { tokens: again, warnings } = await open(files, ["a.jsonl"]);
      assert.equal(again.built, true);
      assert.match(warnings[0] ?? "", /are made anew: .*token file/);
      assert.deepEqual(await all(again), [...utf8("some textand more")]);
    }),
    { numRuns: 300 },
  );
});

test("a file that is well hashed and says nonsense is no token file", async () => {
  const files = await tree({ "a.jsonl": lines("some text", "and more") });
  const { tokens } = await open(files, ["a.jsonl"]);
  const { path, record } = tokens;
  const good = await files.read(path);
  const tail = 4 + 64 + 8;
  const from = good.length - tail - JSON.stringify(record).length;
  const nonsense: unknown[] = [
    record, // which is none: it shows that the others are not refused for their hash
    null,
    [],
    {},
    { ...record, sources: undefined },
    { ...record, sources: [null] },
    { ...record, sources: [{ name: "d/a.jsonl" }] },
    { ...record, tokens: -1 },
    { ...record, tokens: 2 ** 52 },
    { ...record, tokens: record.tokens - 1 },
    { ...record, documents: 1e9 },
    { ...record, documents: record.documents + 0.5 },
    { ...record, tokenizer: 3 },
    { ...record, made: "now" },
  ];
  for (const value of nonsense) {
    const text = utf8(JSON.stringify(value));
    const all = Uint8Array.of(
      ...good.subarray(0, from),
      ...text,
      ...new Uint8Array(Uint32Array.of(text.length).buffer),
    );
    await files.write(path, [all, utf8(`${sha256Hex(all)}SNTOKEND`)]);
    const again = await open(files, ["a.jsonl"]);
    assert.equal(again.tokens.built, value !== record, JSON.stringify(value));
    if (value !== record) assert.match(again.warnings[0] ?? "", /are made anew: /);
  }
  const bare = utf8("{");
  const all = Uint8Array.of(...good.subarray(0, from), ...bare, 1, 0, 0, 0);
  await files.write(path, [all, utf8(`${sha256Hex(all)}SNTOKEND`)]);
  assert.ok((await open(files, ["a.jsonl"])).tokens.built);
});

test("power loss, a full disk or a failing rename at any write leaves no ids or whole ones", async () => {
  const text = lines("some text", "and more of it");
  let cases = 0;
  for (const fault of ["crash", { fail: "ENOSPC", written: 3 }, { fail: "EIO" }] as const) {
    for (const keep of [() => 0, (count: number) => count - 1, (count: number) => count >> 1]) {
      for (let at = 0; ; at++) {
        const files = await tree({ "a.jsonl": text });
        await files.fsyncDirectory("d");
        const first = files.steps;
        files.fault = ({ index }) => (index === first + at ? fault : undefined);
        const failed = await open(files, ["a.jsonl"]).then(
          () => false,
          (error: unknown) => (
            assert.ok(error instanceof PowerLoss || error instanceof FileError, String(error)), true
          ),
        );
        files.fault = undefined;
        files.crash(keep);
        const { tokens, warnings } = await open(files, ["a.jsonl"]);
        assert.deepEqual(await all(tokens), [...utf8("some textand more of it")]);
        assert.deepEqual(warnings, [], "nothing half is ever found under the name");
        cases++;
        if (!failed) break;
      }
    }
  }
  assert.ok(cases > 40, `${cases} cases`);
});

test("bad lines are errors with their number, or are skipped and counted", async () => {
  const good = lines("good");
  const cases: [line: string | Uint8Array, says: RegExp][] = [
    ["{not json}", /d\/a\.jsonl: line 2: not valid JSON/],
    ["[1]", /line 2: expected an object, found an array/],
    ["null", /line 2: expected an object, found null/],
    ["3", /line 2: expected an object, found a number/],
    ['{"txt": "x", "id": 1}', /line 2: there is no field "text" \(there are txt, id\)/],
    ['{"text": 3}', /line 2: the field "text" is no text/],
    ['{"__proto__": {"text": "x"}}', /line 2: there is no field "text"/],
    [Uint8Array.of(0x22, 0xff, 0x22), /line 2: not UTF-8/],
  ];
  for (const [line, says] of cases) {
    const bytes = Uint8Array.of(...utf8(good), ...(typeof line === "string" ? utf8(line) : line), 10, ...utf8(good));
    const files = await tree({ "a.jsonl": bytes });
    await assert.rejects(
      open(files, ["a.jsonl"]),
      (error: unknown) => error instanceof FormatError && says.test(error.message),
    );
    const { tokens } = await open(files, ["a.jsonl"], { onBadLine: "skip" });
    assert.equal(tokens.record.skippedLines, 1);
    assert.deepEqual(await all(tokens), [...utf8("goodgood")]);
  }
  const files = await tree({ "a.jsonl": '{"body": "x"}', "b.txt": Uint8Array.of(97, 10, 0xff) });
  assert.deepEqual(await all((await open(files, ["a.jsonl"], { field: "body" })).tokens), [120]);
  await assert.rejects(open(files, ["b.txt"]), /b\.txt: expected UTF-8 text, found bytes that are not/);
  await assert.rejects(open(files, []), ArgumentError);
  await assert.rejects(open(files, ["b.txt"], { endOfDocument: 257 }), ArgumentError);
});

test("batches are those of the same ids in memory, windows and packed rows", async () => {
  const texts = Array.from({ length: 60 }, (_, i) => `${i}`.repeat(1 + ((i * 7) % 23)));
  const files = await tree({ "a.jsonl": lines(...texts) });
  const { tokens } = await open(files, ["a.jsonl"], { endOfDocument: 256 });
  const ids = await all(tokens);
  const documents = texts.map((text) => [...utf8(text), 256]);
  const options = { batch: 3, sequence: 16, seed: 5 };
  const windows = tokenSource(tokens, options);
  const packed = tokenSource(tokens, { ...options, pack: true });
  for (const step of [0, 1, 7, 500]) {
    assert.deepEqual(await windows.at(step), data.tokenBatches(ids, options).at(step));
    assert.deepEqual(await packed.at(step), data.packedBatches(documents, options).at(step));
  }
  const found = (id: string): number | undefined => {
    const [, document, from] = /^document (\d+) token (\d+)/.exec(id) ?? [];
    return documents[Number(document)]?.[Number(from)];
  };
  for (const step of [0, 1, 7, 500]) {
    const { inputs } = await windows.at(step);
    assert.deepEqual(windows.ids(step).map(found), [inputs[0], inputs[16], inputs[32]]);
    const { inputs: rows, segments } = data.packedBatches(documents, options).at(step);
    const begins = [...rows].filter((_, i) => segments[i] !== 0 && (i % 16 === 0 || segments[i] !== segments[i - 1]));
    assert.deepEqual(packed.ids(step).map(found), begins);
  }
  const wide = tokenSource(tokens, { ...options, batch: 1, sequence: ids.length - 1 });
  assert.deepEqual(wide.ids(0), ["document 0 token 0 to document 59"]);
  const end = documents.slice(0, 45).flat().length + 1;
  const part = tokenSource(tokens, { ...options, end });
  assert.deepEqual(await part.at(3), data.tokenBatches(ids.slice(0, end), options).at(3));
  const some = tokenSource(tokens, { ...options, pack: true, end });
  assert.deepEqual(await some.at(3), data.packedBatches(documents.slice(0, 45), options).at(3));
  assert.throws(() => tokenSource(tokens, { ...options, end: ids.length + 1 }), ArgumentError);
  assert.throws(() => tokenSource(tokens, { ...options, sequence: 10_000 }), ArgumentError);
});
