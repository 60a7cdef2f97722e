/** A run whose process is killed at random moments and goes on with another number of threads: data read by a thread, dropout on, and in
 *  the end the weights and moments, bit for bit, of a run that nobody disturbed. SINAN_STRESS=40 kills so many times. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { nodeFiles } from "@sinan/train/node";
import { device, FileError, latestCheckpoint } from "sinan";
import { llamaConfig } from "./config.ts";
import { mobyDick } from "./tokenizer/tokenizer.fixture.ts";
import { Trainer } from "./trainer.ts";

const steps = 20;
const kills = Math.max(5, Number(process.env["SINAN_STRESS"] ?? 0));

/** Trains in a directory until the end, saying each step. */
async function life(directory: string, threads: number, say: (step: number) => void = () => undefined): Promise<void> {
  await device("cpu", { options: { threads } });
  const trainer = new Trainer({
    model: { ...llamaConfig("llama-tiny"), hiddenSize: 64, intermediateSize: 96, numHiddenLayers: 2, dropout: 0.1 },
    data: { files: path.join(path.dirname(directory), "*.jsonl"), cache: path.dirname(directory) },
    vocabSize: 300,
    seqLen: 64,
    batchSize: 8,
  });
  const files = nodeFiles();
  const resume = (await files.exists(directory)) && (await latestCheckpoint(files, directory)) !== null;
  const call = { out: directory, resume, checkpointEvery: 1, progress: null, evaluateEvery: steps } as const;
  for await (const event of trainer.run({ ...call, ...(resume ? {} : { steps }) }))
    if (event.event === "checkpoint") say(event.step);
}

if (process.argv[2] === "live") await life(process.argv[3] ?? "", Number(process.argv[4]), console.log);
else tests();

function tests(): void {
  test(`killed ${kills} times at random moments, with one thread and two in turn: the bits of a run that never stopped`, async (t) => {
    const home = await mkdtemp(path.join(tmpdir(), "sinan-"));
    t.after(() => rm(home, { recursive: true }));
    const lines = mobyDick().slice(2000, 60_000).split("\n\n");
    await writeFile(`${home}/book.jsonl`, lines.map((text) => `${JSON.stringify({ text })}\n`).join(""));
    await life(`${home}/whole`, 2);

    let random = 12345;
    let before = -1;
    let killed = 0;
    const directory = `${home}/killed`;
    for (let threads = 1; ; threads = 3 - threads) {
      const child = start(directory, threads);
      const acknowledged = stepsOf(child);
      const ended = once(child, "exit");
      if (killed < kills) {
        await Promise.race([acknowledged.first, ended]);
        random = (Math.imul(random, 1103515245) + 12345) >>> 0;
        await new Promise((resolve) => setTimeout(resolve, (random / 2 ** 32) * 60));
        if (killed === 1 && child.kill("SIGSTOP")) await refusedBeside(directory);
        child.kill("SIGKILL");
      }
      const [code, signal] = (await ended) as [number | null, string | null];
      const found = await latestCheckpoint(nodeFiles(), directory, { onWarning: (message) => assert.fail(message) });
      assert.ok(found && found.step >= acknowledged.last() && found.step >= before, `step ${found?.step} of ${before}`);
      before = found.step;
      if (signal === "SIGKILL") killed++;
      else {
        assert.equal(code, 0, acknowledged.errors());
        break;
      }
    }
    assert.ok(killed >= Math.min(kills, 3), `${killed} kills came before the end`);
    for (const name of ["model.safetensors", "optimizer.safetensors"]) {
      const [one, other] = await Promise.all(
        ["whole", "killed"].map((run) => readFile(`${home}/${run}/step-${String(steps).padStart(8, "0")}/${name}`)),
      );
      assert.ok(one && other && one.length > 100_000 && one.equals(other), name);
    }
  });
}

/** A second process on the directory of one that is there, if asleep. */
async function refusedBeside(directory: string): Promise<void> {
  await assert.rejects(
    life(directory, 1),
    (error: unknown) =>
      error instanceof FileError && error.code === "EEXIST" && /process \d+ has it/.test(error.message),
  );
}

const start = (directory: string, threads: number): ChildProcess =>
  spawn(process.execPath, [fileURLToPath(import.meta.url), "live", directory, String(threads)], {
    stdio: ["ignore", "pipe", "pipe"],
  });

/** The steps whose checkpoints a child said to be safe. */
function stepsOf({ stdout, stderr }: ChildProcess): { first: Promise<void>; last(): number; errors(): string } {
  let said = "";
  let errors = "";
  stderr?.on("data", (some: Buffer) => (errors += String(some)));
  const first = new Promise<void>((resolve) => {
    stdout?.on("data", (some: Buffer) => {
      said += String(some);
      if (said.includes("\n")) resolve();
    });
  });
  return { first, last: () => Number(said.split("\n").at(-2) ?? -1), errors: () => errors };
}
