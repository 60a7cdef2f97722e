/** Batches are there before they are asked for, errors stay with their step, and no thread outlives what it is for. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ArgumentError, FileError, FormatError } from "sinan";
import { nodeFiles } from "../files/index.ts";
import { byteTokenizer } from "../fixtures/bytes.ts";
import { readAhead } from "./read-ahead.ts";
import { textFile } from "./text-file.ts";
import { threadSource } from "./thread-source.ts";
import { openTokens, type Tokens } from "./token-cache.ts";
import { tokenSource } from "./token-source.ts";

const options = { batch: 2, sequence: 8, seed: 1 };
const text = "it was the best of times, it was the worst of times; ".repeat(40);

async function tokensOf(directory: string): Promise<Tokens> {
  const files = nodeFiles();
  return openTokens(files, [await textFile(files, `${directory}/a.txt`)], {
    tokenizer: byteTokenizer(),
    cache: directory,
  });
}

async function scratch(t: TestContext): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), "sinan-"));
  t.after(() => rm(directory, { recursive: true }));
  await writeFile(`${directory}/a.txt`, text);
  return directory;
}

if (process.argv[2] === "forget to close") {
  const source = readAhead(threadSource(await tokensOf(process.argv[3] ?? ""), options));
  for (let step = 0; step < 3; step++) await source.at(step);
  console.log("done");
} else tests();

function tests(): void {
  test("so many steps are read ahead, in order, each once, and no more are held", async () => {
    const asked: number[] = [];
    const source = { at: async (step: number) => (asked.push(step), step), close: async () => undefined };
    const ahead = readAhead(source, { depth: 3 });
    assert.equal(await ahead.at(5), 5);
    await sleep(0);
    assert.deepEqual([asked, ahead.ready], [[5, 6, 7, 8], 3]);
    assert.equal(await ahead.at(6), 6);
    assert.equal(await ahead.at(7), 7);
    assert.deepEqual(asked, [5, 6, 7, 8, 9, 10]);
    assert.equal(await ahead.at(2), 2); // back to a checkpoint
    await sleep(0);
    assert.deepEqual([asked.slice(6), ahead.ready], [[2, 3, 4, 5], 3]);
    await ahead.close();
    assert.throws(() => ahead.at(3), ArgumentError);
    assert.throws(() => readAhead(source, { depth: 0 }), ArgumentError);
  });

  test("an error is that of its step, and no other's", async () => {
    const source = {
      at: (step: number): Promise<number> =>
        step === 2 ? Promise.reject(new FormatError("bad")) : Promise.resolve(step),
      close: async () => undefined,
    };
    const ahead = readAhead(source, { depth: 4 });
    assert.equal(await ahead.at(0), 0);
    await sleep(0);
    assert.equal(await ahead.at(1), 1);
    await assert.rejects(async () => ahead.at(2), FormatError);
    assert.equal(await ahead.at(3), 3);
    await ahead.close();
  });

  test("a thread gives the batches that this one would read, windows and packed", async (t) => {
    const tokens = await tokensOf(await scratch(t));
    for (const more of [{}, { pack: true }]) {
      const threaded = threadSource(tokens, { ...options, ...more });
      const here = tokenSource(tokens, { ...options, ...more });
      const steps = [0, 3, 1, 99];
      const got = await Promise.all(steps.map(async (step) => threaded.at(step)));
      assert.deepEqual(got, await Promise.all(steps.map((step) => here.at(step))));
      assert.deepEqual(readAhead(threaded).ids?.(3), here.ids(3));
      await assert.rejects(async () => threaded.at(-1), ArgumentError);
      if ("pack" in more) await threaded.close();
      else await threaded.at(4); // and is left open: the process of this test ends nevertheless
    }
  });

  test("a step that takes longer than reading never waits", async (t) => {
    const tokens = await tokensOf(await scratch(t));
    const ahead = readAhead(threadSource(tokens, options), { depth: 2 });
    await ahead.at(0);
    let waited = 0;
    for (let step = 1; step < 30; step++) {
      for (const until = performance.now() + 5; performance.now() < until; ); // computes: no event is handled
      await sleep(1); // the turn that a training loop gives
      if (ahead.ready === 0) waited++;
      await ahead.at(step);
    }
    await ahead.close();
    assert.ok(waited <= 2, `${waited} of 29 steps waited`); // a machine under load may stop the thread for a moment
  });

  test("what becomes of the file is the step's typed error", async (t) => {
    const directory = await scratch(t);
    const tokens = await tokensOf(directory);
    const before = await tokenSource(tokens, options).at(0);
    await rm(tokens.path);
    const gone = threadSource(tokens, options);
    await assert.rejects(
      async () => gone.at(0),
      (e: unknown) => e instanceof FileError && e.code === "ENOENT",
    );
    await writeFile(`${directory}/a.txt`, `another ${text}`);
    await tokensOf(directory);
    const replaced = threadSource(tokens, options);
    await assert.rejects(async () => replaced.at(0), /FormatError.*another token file took this one's place/);
    assert.deepEqual(await tokenSource(tokens, options).at(0), before, "an open file stays what it was");
    await gone.close();
    const pending = Promise.resolve(replaced.at(1));
    pending.catch(() => undefined);
    await replaced.close();
    await assert.rejects(pending, /FormatError|ArgumentError/);
    await assert.rejects(async () => replaced.at(2), ArgumentError);
  });

  test("a source that nobody closed does not keep the process alive", async (t) => {
    const directory = await scratch(t);
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url), "forget to close", directory], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let said = "";
    child.stdout.on("data", (some: Buffer) => (said += String(some)));
    const timer = setTimeout(() => child.kill(), 20_000);
    const [code] = (await once(child, "exit")) as [number | null];
    clearTimeout(timer);
    assert.deepEqual([code, said], [0, "done\n"]);
  });
}
