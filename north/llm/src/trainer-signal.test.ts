/** SIGTERM in the middle of an evaluation that takes long: it is cut short, and the process ends saved, well before its deadline. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import process from "node:process";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { nodeFiles } from "@sinan/train/node";
import { device, latestCheckpoint } from "sinan";
import { llamaConfig } from "./config.ts";
import { mobyDick } from "./tokenizer/tokenizer.fixture.ts";
import { Trainer } from "./trainer.ts";

if (process.argv[2] === "live") {
  await device("cpu", { options: { threads: 1 } });
  const trainer = new Trainer({
    model: { ...llamaConfig("llama-tiny"), hiddenSize: 128, intermediateSize: 256, numHiddenLayers: 4 },
    data: { text: mobyDick().repeat(20) },
    heldOut: 0.9,
    vocabSize: 257,
    seqLen: 64,
    batchSize: 8,
  });
  const run = trainer.run({
    steps: 3,
    out: process.argv[3] ?? "",
    evaluateEvery: 1,
    progress: null,
    onWarning: console.log,
    deadlineSeconds: 300,
  });
  for await (const { event } of run) console.log(event);
} else
  test("SIGTERM cuts an evaluation short: saved, and ended with 143", async (t) => {
    const home = await mkdtemp(`${tmpdir()}/sinan-`);
    t.after(() => rm(home, { recursive: true }));
    const child = spawn(process.execPath, [fileURLToPath(import.meta.url), "live", `${home}/run`], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let said = "";
    const evaluating = new Promise<void>((resolve) => {
      child.stdout.on("data", (some: Buffer) => {
        said += String(some);
        if (/^step$/m.test(said)) resolve();
      });
    });
    const ended = once(child, "exit");
    await Promise.race([evaluating, ended]);
    await new Promise((resolve) => setTimeout(resolve, 300)); // the evaluation is under way, and would take a minute
    child.kill("SIGTERM");
    assert.deepEqual(await ended, [143, null], said);
    assert.doesNotMatch(said, /^eval$/m);
    assert.match(said, /stopped after step 1; continue with/);
    assert.equal((await latestCheckpoint(nodeFiles(), `${home}/run`))?.step, 1);
  });
