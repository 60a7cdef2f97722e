import assert from "node:assert/strict";
import test from "node:test";
import { device, memoryFiles, type MemoryFiles, tree } from "sinan";
import type { Report, ReportedEvent } from "@sinan/train";
import { llamaConfigFromJson } from "./config.ts";
import { Trainer } from "./trainer.ts";

const config = llamaConfigFromJson({
  model_type: "llama",
  vocab_size: 260,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  max_position_embeddings: 32,
  tie_word_embeddings: true,
  dropout: 0.1,
});
const text = "to be or not to be, that is the question; ".repeat(40);

const trainerOn = (files: MemoryFiles): Trainer =>
  new Trainer({ files, model: config, data: { text }, seqLen: 8, batchSize: 2 });

const quiet = { progress: null, out: "run", onWarning: (message: string): void => assert.fail(message) } as const;

test("a run gives its events one after another, then its result; awaited, the result alone", async () => {
  await device("cpu");
  const run = trainerOn(memoryFiles()).run({ steps: 3, ...quiet });
  const losses: number[] = [];
  const kinds: string[] = [];
  for await (const event of run) {
    kinds.push(event.event);
    if (event.event === "step") losses.push(event.loss);
  }
  assert.deepEqual(kinds, ["start", "checkpoint", "step", "step", "step", "checkpoint", "eval", "done"]);
  const result = await run;
  assert.equal(result.step, 3);
  assert.equal(await run, result, "awaited twice it is the same");
  const again: number[] = [];
  const onEvent = (e: ReportedEvent & { loss?: number }): void => void (e.event === "step" && again.push(e.loss ?? 0));
  const awaited = await trainerOn(memoryFiles()).run({ steps: 3, ...quiet, onEvent });
  assert.deepEqual(again, losses);
  assert.equal(awaited.done?.bitsPerByte, result.done?.bitsPerByte);
});

test("who stops reading stops the run: it is saved, and goes on from there", async () => {
  await device("cpu");
  const files = memoryFiles();
  const trainer = trainerOn(files);
  const whole: number[] = [];
  for await (const e of trainerOn(memoryFiles()).run({ steps: 5, ...quiet }))
    if (e.event === "step") whole.push(e.loss);
  const losses: number[] = [];
  const run = trainer.run({ steps: 5, ...quiet });
  for await (const event of run) {
    if (event.event !== "step") continue;
    losses.push(event.loss);
    if (event.step === 2) break;
  }
  const { stopped, step, checkpoint } = await run;
  assert.deepEqual([stopped, step, checkpoint], [true, 2, "run/step-00000002"]);
  assert.ok(tree.tensors(trainer.model).length > 0, "the model may be used");
  for await (const e of trainer.run({ resume: true, ...quiet })) if (e.event === "step") losses.push(e.loss);
  assert.deepEqual(losses, whole);
});

test("an error comes to the reader, and to whoever awaits the run after it", async () => {
  const run = trainerOn(memoryFiles()).run({ steps: 0, ...quiet });
  await assert.rejects(async () => {
    for await (const _ of run);
  }, /steps: expected a whole number/);
  await assert.rejects(async () => run, /steps: expected a whole number/);
});

test("the plan: parameters, bytes by kind, operations and time, without a step", async () => {
  await device("cpu");
  const files = memoryFiles();
  const run = trainerOn(files).run({ steps: 100, ...quiet });
  const plan = await run.plan();
  assert.equal(await files.exists("run"), false, "nothing is written");
  const { bytes } = plan;
  const result = await trainerOn(memoryFiles()).train({ steps: 1, ...quiet });
  assert.equal(plan.parameters, result.done?.parameters);
  assert.equal(bytes.weights, 4 * plan.parameters);
  // Two means, and the count of steps.
  assert.equal(bytes.optimizer, 2 * bytes.weights + 4);
  assert.equal(bytes.batch, 2 * 4 * 2 * 8);
  const named = bytes.weights + bytes.gradients + bytes.optimizer + bytes.batch + bytes.activations;
  assert.ok(bytes.activations > 0 && Math.abs(named - bytes.peak) < 1, String(plan));
  // Kaplan et al. 2020, arXiv:2001.08361, §2.1: six operations a parameter and token that a product has; attention and norms come on top.
  const matrices = plan.parameters - 3 * 16;
  assert.ok(
    plan.flopsPerToken > 6 * matrices && plan.flopsPerToken < 12 * matrices,
    `${plan.flopsPerToken}, ${matrices}`,
  );
  assert.equal(plan.rate, "estimated");
  assert.ok((plan.seconds ?? 0) > 0);
  assert.match(String(plan), /^parameters +[\d,]+\nsteps +100 of 16 tokens\nmemory .*MiB\n  weights/);
  const { step } = await run;
  assert.equal(step, 100, "and then it runs");
});

test("reports hear of everything and are closed; one that fails is left out and the run goes on", async () => {
  await device("cpu");
  const heard: string[] = [];
  const good: Report = {
    event: ({ event }) => void (event !== "memory" && heard.push(event)), // that comes by the clock
    close: async () => void heard.push("closed"),
  };
  const bad: Report = { event: () => assert.fail("full disk"), close: async () => assert.fail("never asked") };
  const unclosed: Report = { event: () => undefined, close: () => Promise.reject(new Error("no room")) };
  const warnings: string[] = [];
  const { step } = await trainerOn(memoryFiles()).train({
    ...quiet,
    steps: 2,
    reports: [bad, good, unclosed],
    onWarning: (message) => void warnings.push(message),
  });
  assert.equal(step, 2);
  assert.deepEqual(heard, ["start", "checkpoint", "step", "step", "checkpoint", "eval", "done", "closed"]);
  assert.equal(warnings.length, 2);
  assert.match(warnings[0] ?? "", /a report failed .*full disk/);
  assert.match(warnings[1] ?? "", /a report failed .*no room/);
});
