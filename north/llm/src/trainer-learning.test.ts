import assert from "node:assert/strict";
import test from "node:test";
import {
  device,
  full,
  key,
  latestCheckpoint,
  type MemoryFiles,
  memoryFiles,
  optim,
  tensor,
  type Tensor,
  tree,
} from "sinan";
import { findNonFinite, type StepContext, type TrainEvent } from "@sinan/train";
import { llamaConfigFromJson } from "./config.ts";
import { type Llama, llama } from "./model/llama.ts";
import { loss } from "./model/loss.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";
import type { TrainCall, TrainerEvent, TrainResult } from "./trainer-events.ts";
import { recorded, scheduleOf } from "./trainer-learning.ts";
import { sampleEvery } from "./trainer-samples.ts";

const config = llamaConfigFromJson({
  model_type: "llama",
  vocab_size: 260,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 32,
  tie_word_embeddings: true,
  dropout: 0.1,
});
const text = "to be or not to be, that is the question; ".repeat(40);

async function run(
  options: TrainerOptions,
  call: TrainCall,
  files: MemoryFiles = memoryFiles(),
): Promise<{ losses: number[]; events: TrainerEvent[]; result: TrainResult }> {
  const trainer = new Trainer({ files, model: config, data: { text }, seqLen: 8, batchSize: 4, ...options });
  const events: TrainerEvent[] = [];
  const onEvent = (event: TrainerEvent): void => void events.push(event);
  const onWarning = (message: string): void => assert.fail(message);
  const result = await trainer.train({ out: "run", progress: null, onEvent, onWarning, ...call });
  return { losses: events.flatMap((e) => (e.event === "step" ? [e.loss] : [])), events, result };
}

test("a LLaMA in micro-batches, dropout on, takes the steps of the whole batch", async () => {
  await device("cpu");
  const whole = await run({}, { steps: 12 });
  for (const accumulate of [2, 4]) {
    const { losses } = await run({ accumulate }, { steps: 12 });
    losses.forEach((loss, i) =>
      assert.ok(Math.abs(loss - (whole.losses[i] ?? 0)) < 1e-5, `${accumulate}: step ${i + 1}`),
    );
  }
});

test("everything that a run is told is in its checkpoint: it goes on with it, untold", async () => {
  await device("cpu");
  const options: TrainerOptions = {
    optimizer: { name: "sgd", momentum: 0.9, groups: [{ match: "**.layers.0", rateScale: 0.5 }] },
    schedule: { name: "wsd", decaySteps: 3 },
    accumulate: 2,
    precision: "bf16",
    ema: 0.9,
    onNonFinite: "skip",
    onSpike: { factor: 20, window: 3, action: "skip" },
    earlyStop: { patience: 3 },
    keep: { last: 3, best: 1 },
    learningRate: 0.1,
    warmupSteps: 2,
  };
  const whole = await run(options, { steps: 8, evaluateEvery: 2 });
  const files = memoryFiles();
  const controller = new AbortController();
  const stop = (e: TrainEvent): undefined => void (e.event === "step" && e.step === 3 && controller.abort());
  const first = await run(options, { steps: 8, evaluateEvery: 2, callbacks: [stop], signal: controller.signal }, files);
  const second = await run({}, { resume: true, evaluateEvery: 2 }, files);
  assert.deepEqual([...first.losses, ...second.losses], whole.losses);
  assert.equal(second.result.best?.startsWith("run/best/step-"), true);
  assert.ok(second.result.ema, "the mean goes on");
  assert.equal(second.result.done?.bitsPerByte, whole.result.done?.bitsPerByte);
  const best = await latestCheckpoint(files, "run/best");
  assert.ok(best?.tensors["ema"]);
});

test("f16 follows f32, and no step is lost to its loss scale", async () => {
  await device("cpu");
  const whole = await run({}, { steps: 6 });
  const { losses } = await run({ precision: "f16" }, { steps: 6 });
  assert.equal(losses.length, 6);
  losses.forEach((loss, i) => assert.ok(Math.abs(loss - (whole.losses[i] ?? 0)) < 0.01, `step ${i + 1}: ${loss}`));
});

test("a bad activation is found by the path of its module, through the regions of the layers", async () => {
  await device("cpu");
  const drawn = llama(config).init(key(0));
  const model = tree.mapLeaves(drawn, (leaf, path) =>
    path === "model.layers.1.mlp.up_proj.weight" ? full([24, 16], 1e38) : leaf,
  ) as Llama;
  const ids = tensor(Int32Array.of(5, 9, 3, 7, 11, 2, 1, 4), { shape: [2, 4] });
  const task = { loss: (m: Llama, batch: Tensor, context: StepContext) => loss(m, batch, batch, context) };
  const found = await findNonFinite(task, model, ids, key(1));
  assert.deepEqual([found.kind, found.path], ["activation", "model.layers.1.mlp.up_proj"]);
});

test("a refused step names its batch and the windows of the text in it", async () => {
  await device("cpu");
  await assert.rejects(
    run({ learningRate: 1e30, warmupSteps: 0 }, { steps: 6 }),
    /batch \d \(token \d+, token \d+, token \d+, token \d+\)/,
  );
});

test("options that a file cannot hold are asked for again", async () => {
  await device("cpu");
  const files = memoryFiles();
  const options: TrainerOptions = { schedule: (step) => 1e-3 / step };
  await run(options, { steps: 2 }, files);
  await assert.rejects(
    run({}, { resume: true }, files),
    /CheckpointError.*schedule was given in a form .*Give the same schedule/s,
  );
  await run(options, { resume: true }, files);
});

test("options by name and in full; what there is not is refused", async () => {
  const rates = { learningRate: 1, warmupSteps: 2, steps: 10 };
  assert.deepEqual(
    (["constant", "linear", "cosine", "wsd", "oneCycle"] as const).map((name) => scheduleOf(name, rates)(2)),
    [1, 1, 1, 1, 1],
  );
  assert.equal(scheduleOf({ name: "linear", finalFraction: 0.5 }, rates)(10), 0.5);
  assert.equal(scheduleOf(optim.constant(3), rates)(5), 3);
  assert.equal(recorded({ groups: [{ match: /a/ }] }), null);
  assert.deepEqual(recorded({ a: [1, "b"], c: undefined }), { a: [1, "b"] });
  const bad: [TrainerOptions, RegExp][] = [
    [{ optimizer: "lion" as "sgd" }, /optimizer: expected one of adamW, sgd, got .*lion/],
    [{ schedule: { name: "steps" } as unknown as "wsd" }, /schedule: expected one of constant, .*steps/],
    [{ accumulate: 3 }, /accumulate: 4 windows of a batch cannot be split evenly in 3/],
    [{ optimizer: { name: "adamW", groups: [{ match: "layers.9" }] } }, /no parameter matches layers\.9/],
  ];
  for (const [options, message] of bad) await assert.rejects(run(options, { steps: 2 }), message);
  assert.throws(() => new Trainer({ keep: { last: 0 } }), /keep\.last: expected a whole number of at least 1, got 0/);
  assert.throws(() => new Trainer({ ema: 1 }), /ema: expected a number of at least 0/);
});

test("reports made for a run know where it begins; callbacks may let the model speak", async () => {
  await device("cpu");
  const heard: string[] = [];
  const { events } = await run(
    {
      callbacks: [sampleEvery(2, "to be", { maxTokens: 4 })],
      reports: ({ directory }) => [
        { event: ({ event }) => void heard.push(event), close: async () => void heard.push(`${directory}`) },
      ],
    },
    { steps: 4 },
  );
  const samples = events.flatMap((e) => (e.event === "sample" ? [e] : []));
  assert.deepEqual(
    samples.map(({ step, prompt }) => [step, prompt]),
    [
      [2, "to be"],
      [4, "to be"],
    ],
  );
  assert.ok(samples.every(({ text: said }) => said.length > 0));
  assert.deepEqual(heard.filter((e) => e === "sample").length, 2);
  assert.equal(heard.at(-1), "run");
});
