import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "node:test";
import { ArgumentError, FileError, sha256Hex } from "sinan";
import { nativeSha256 } from "../files/native-sha256.ts";
import { cacheDirectory, findTexts } from "./find-texts.ts";

test("files, directories and patterns stand for texts, each once and in order", async (t) => {
  const directory = await mkdtemp(path.join(tmpdir(), "sinan-"));
  t.after(() => rm(directory, { recursive: true }));
  await mkdir(`${directory}/deep/er`, { recursive: true });
  for (const name of ["b.txt", "a.jsonl", "deep/er/c.md", "deep/picture.png", "odd[1]*.txt"])
    await writeFile(`${directory}/${name}`, "x");
  const found = async (...paths: string[]): Promise<string[]> =>
    (await findTexts(paths.map((name) => path.join(directory, name)))).map(({ name }) =>
      path.relative(directory, name),
    );
  assert.deepEqual(await found("."), ["a.jsonl", "b.txt", "deep/er/c.md", "odd[1]*.txt"]);
  assert.deepEqual(await found("b.txt", "*.jsonl", "."), ["b.txt", "a.jsonl", "deep/er/c.md", "odd[1]*.txt"]);
  assert.deepEqual(await found("odd[1]*.txt"), ["odd[1]*.txt"]);
  assert.deepEqual(await found("deep/picture.png"), ["deep/picture.png"]);
  assert.deepEqual(await found("**/*.{md,jsonl}"), ["a.jsonl", "deep/er/c.md"]);
  await assert.rejects(found("none.txt"), (e: unknown) => e instanceof FileError && e.code === "ENOENT");
  await mkdir(`${directory}/empty`);
  for (const nothing of ["*.csv", "empty"])
    await assert.rejects(found(nothing), (e: unknown) => e instanceof ArgumentError && e.message.includes(nothing));
});

test("the cache is the user's own", { skip: process.platform === "win32" }, async (t) => {
  const directory = await mkdtemp(path.join(tmpdir(), "sinan-"));
  const before = process.env["XDG_CACHE_HOME"];
  t.after(() => {
    if (before === undefined) delete process.env["XDG_CACHE_HOME"];
    else process.env["XDG_CACHE_HOME"] = before;
    return rm(directory, { recursive: true });
  });
  process.env["XDG_CACHE_HOME"] = directory;
  const cache = await cacheDirectory();
  assert.equal(cache, path.join(directory, "sinan"));
  assert.equal((await stat(cache)).mode & 0o777, 0o700);
});

test("the system's SHA-256 is the core's", () => {
  const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i * 31);
  assert.equal(nativeSha256().update(bytes.subarray(0, 7)).update(bytes.subarray(7)).hex(), sha256Hex(bytes));
});
