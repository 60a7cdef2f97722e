/** Many files, JSON lines and large texts through a Trainer: the same training as of a text in memory, resumed exactly, and refused where
 *  the data changed. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import test, { type TestContext } from "node:test";
import { blobFile } from "@sinan/train";
import { CheckpointError, device, FileError, FormatError, memoryFiles, NonFiniteError } from "sinan";
import { mobyDick } from "./tokenizer/tokenizer.fixture.ts";
import type { TrainerEvent } from "./trainer-events.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";

const book = mobyDick().slice(2000, 42_000);
const lines = book
  .split("\n\n")
  .filter((text) => text !== "")
  .map((text) => `${JSON.stringify({ text })}\n`);
const options = { seqLen: 16, batchSize: 4, vocabSize: 300, seed: 2 } as const;
const quiet = { progress: null, onWarning: () => undefined } as const;

async function scratch(t: TestContext): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), "sinan-"));
  t.after(() => rm(directory, { recursive: true }));
  await writeFile(`${directory}/a.jsonl`, lines.slice(0, 40).join(""));
  await writeFile(`${directory}/b.jsonl`, lines.slice(40).join(""));
  return directory;
}

async function losses(
  given: TrainerOptions,
  call: Parameters<Trainer["run"]>[0],
  stopAfter = Number.POSITIVE_INFINITY,
): Promise<{ losses: number[]; start: TrainerEvent & { event: "start" }; bitsPerByte: number }> {
  const run = new Trainer({ ...options, ...given }).run({ ...quiet, ...call });
  const losses: number[] = [];
  const starts: (TrainerEvent & { event: "start" })[] = [];
  for await (const event of run) {
    if (event.event === "start") starts.push(event);
    if (event.event !== "step") continue;
    losses.push(event.loss);
    if (event.step >= stopAfter) run.stop();
  }
  const [start] = starts;
  assert.ok(start);
  return { losses, start, bitsPerByte: (await run).done?.bitsPerByte ?? Number.NaN };
}

test("JSON lines of several files are learned from, by a pattern, a directory and by name", async (t) => {
  await device("cpu");
  const directory = await scratch(t);
  const cache = `${directory}/cache`;
  const sources = [`${directory}/*.jsonl`, [`${directory}/a.jsonl`, `${directory}/b.jsonl`], directory];
  const runs = [];
  for (const files of sources) runs.push(await losses({ data: { files, cache } }, { steps: 8, out: null }));
  for (const run of runs) assert.deepEqual(run.losses, runs[0]?.losses);
  const first = runs[0];
  assert.ok(first && (first.losses.at(-1) ?? 9) < (first.losses[0] ?? 0) - 0.3, String(first?.losses));
  assert.ok(first.bitsPerByte > 1 && first.bitsPerByte < 8);
  assert.ok(first.start.heldOutTokens > 0.04 * first.start.trainTokens);
  assert.equal((await readdir(cache)).length, 1, "one file of ids for all three");
});

test("a run of streamed data is resumed exactly, from where its checkpoint says the data is", async (t) => {
  await device("cpu");
  const directory = await scratch(t);
  const out = `${directory}/run`;
  const data = { files: `${directory}/*.jsonl`, cache: `${directory}/cache` };
  const whole = await losses({ data }, { steps: 8, out: null });
  const first = await losses({ data }, { steps: 8, out }, 3);
  const second = await losses({}, { resume: true, out });
  assert.deepEqual([...first.losses, ...second.losses], whole.losses);
  assert.equal(second.bitsPerByte, whole.bitsPerByte);
  await writeFile(`${directory}/b.jsonl`, lines.slice(41).join(""));
  await assert.rejects(
    losses({}, { resume: true, out }),
    (error: unknown) => error instanceof CheckpointError && /data differs/.test(error.message),
  );
});

test("packed documents are learned from, resumed exactly, and are another run than windows of the same text", async (t) => {
  await device("cpu");
  const directory = await scratch(t);
  const out = `${directory}/run`;
  const data = { files: `${directory}/*.jsonl`, cache: `${directory}/cache`, pack: true };
  const more = { seqLen: 48, dropout: 0.1 };
  const whole = await losses({ ...more, data }, { steps: 8, out: null });
  assert.ok((whole.losses.at(-1) ?? 9) < (whole.losses[0] ?? 0) - 0.3, String(whole.losses));
  const cut = await losses({ ...more, data, accumulate: 2 }, { steps: 8, out: null });
  cut.losses.forEach((loss, i) => assert.ok(Math.abs(loss - (whole.losses[i] ?? 0)) < 1e-5, `step ${i + 1}: ${loss}`));
  const first = await losses({ ...more, data }, { steps: 8, out }, 3);
  const second = await losses(more, { resume: true, out });
  assert.deepEqual([...first.losses, ...second.losses], whole.losses);
  await assert.rejects(
    losses({ ...more, data: { ...data, pack: false } }, { resume: true, out }),
    /data differs: .*packed/,
  );
});

test("a bad line stops before anything is written, and can be skipped", async (t) => {
  await device("cpu");
  const directory = await scratch(t);
  await writeFile(`${directory}/b.jsonl`, `${lines[0]}{"text": 1}\n`);
  const data = { files: directory, cache: `${directory}/cache` };
  await assert.rejects(
    losses({ data }, { steps: 2, out: `${directory}/run` }),
    (error: unknown) =>
      error instanceof FormatError && /b\.jsonl: line 2: the field "text" is no text/.test(error.message),
  );
  assert.deepEqual((await readdir(directory)).includes("run"), false);
  await losses({ data: { ...data, onBadLine: "skip" } }, { steps: 2, out: null });
});

test("a page's file and other storage are streamed too", async () => {
  await device("cpu");
  const files = memoryFiles();
  await files.write("book.jsonl", [new TextEncoder().encode(lines.join(""))]);
  const stored = await losses({ data: "book.jsonl", files }, { steps: 3, out: "run" });
  const blob = blobFile(new Blob(lines), "book.jsonl");
  const given = await losses({ data: { files: [blob] }, files: memoryFiles() }, { steps: 3, out: null });
  assert.deepEqual(given.losses, stored.losses);
  const resumed = await losses({ files }, { resume: true, out: "run" });
  assert.deepEqual(resumed.losses, []);
  await assert.rejects(losses({ data: "none.jsonl", files }, { steps: 3 }), FileError);
});

test("a batch that cannot be learned from is named by its documents, in windows and packed", async (t) => {
  await device("cpu");
  const directory = await scratch(t);
  for (const pack of [false, true]) {
    const data = { files: `${directory}/*.jsonl`, cache: `${directory}/cache`, pack };
    const call = { steps: 20, out: null };
    await assert.rejects(
      losses({ data, learningRate: 1e38, clipNorm: 1e30, warmupSteps: 0, precision: "bf16" }, call),
      (error: unknown) => {
        assert.ok(error instanceof NonFiniteError);
        assert.match(error.message, /batch \d+ \(document \d+ token \d+(?: to document \d+)?, document/);
        return true;
      },
    );
  }
});
