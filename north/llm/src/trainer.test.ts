import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";
import {
  ArgumentError,
  CheckpointError,
  device,
  FormatError,
  latestCheckpoint,
  type MemoryFiles,
  memoryFiles,
  NonFiniteError,
  readSafetensors,
} from "sinan";
import { llamaConfigFromJson } from "./config.ts";
import { tokenizerFromJson } from "./tokenizer/read-json.ts";
import { loadTrained } from "./trainer-load.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";
import type { TrainCall, TrainerEvent, TrainResult } from "./trainer-events.ts";

const text = await readFile(new URL("../../../tests/fixtures/tokenizer/corpus.txt", import.meta.url), "utf8");
const config = llamaConfigFromJson({
  model_type: "llama",
  vocab_size: 280,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 48,
  tie_word_embeddings: true,
  dropout: 0.1,
});

interface Ran {
  readonly losses: number[];
  readonly events: TrainerEvent[];
  readonly result: TrainResult;
  readonly trainer: Trainer;
}

async function run(
  files: MemoryFiles,
  options: TrainerOptions,
  call: TrainCall,
  stopAfter = Number.POSITIVE_INFINITY,
): Promise<Ran> {
  const controller = new AbortController();
  const losses: number[] = [];
  const events: TrainerEvent[] = [];
  const onEvent = (event: TrainerEvent): void => {
    events.push(event);
    if (event.event !== "step") return;
    losses.push(event.loss);
    if (event.step >= stopAfter) controller.abort();
  };
  const trainer = new Trainer({ files, model: config, data: { text }, seqLen: 12, batchSize: 3, ...options });
  const onWarning = (message: string): void => assert.fail(message);
  const result = await trainer.train({
    out: "run",
    progress: null,
    signal: controller.signal,
    onEvent,
    onWarning,
    ...call,
  });
  return { losses, events, result, trainer };
}

const devices = process.env["SINAN_TEST_DEVICES"] === "all" ? ["interpreter", "cpu", "sim"] : ["cpu"];

for (const name of devices) {
  test(`${name}: a LLaMA stopped after any step and resumed gives the losses of one that never stopped, dropout on`, async () => {
    await device(name);
    const steps = 8;
    const whole = await run(memoryFiles(), {}, { steps });
    assert.equal(whole.losses.length, steps);
    for (let stop = 1; stop < steps; stop++) {
      const files = memoryFiles();
      const first = await run(files, {}, { steps }, stop);
      assert.deepEqual([first.result.stopped, first.result.step, first.result.done], [true, stop, null]);
      const second = await run(files, {}, { resume: true });
      assert.deepEqual([...first.losses, ...second.losses], whole.losses, `stopped after ${stop}`);
      assert.equal(second.result.done?.bitsPerByte, whole.result.done?.bitsPerByte);
    }
  });
}

test("training learns: it ends below a unigram model of the same tokens", async () => {
  await device("cpu");
  const { losses, result, trainer } = await run(
    memoryFiles(),
    { seqLen: 24, batchSize: 8, learningRate: 1e-2, dropout: 0 },
    { steps: 150 },
  );
  assert.ok(result.done);
  assert.ok((losses.at(-1) ?? 9) < (losses[0] ?? 0) - 1);
  assert.ok(result.done.bitsPerByte < result.done.baselines.unigram, JSON.stringify(result.done));
  const one = await trainer.generate("the ", { maxTokens: 10, seed: 1 });
  assert.equal(await trainer.generate("the ", { maxTokens: 10, seed: 1 }), one);
});

test("a checkpoint holds Hugging Face's names and loads as a model that says the same", async () => {
  await device("cpu");
  const files = memoryFiles();
  const { result, trainer } = await run(files, {}, { steps: 2 });
  assert.equal(result.checkpoint, "run/step-00000002");
  const { tensors } = readSafetensors(await files.read("run/step-00000002/model.safetensors"));
  const layer = ["input_layernorm", "mlp.down_proj", "mlp.gate_proj", "mlp.up_proj", "post_attention_layernorm"];
  layer.push("self_attn.k_proj", "self_attn.o_proj", "self_attn.q_proj", "self_attn.v_proj");
  const layers = [0, 1].flatMap((i) => layer.map((name) => `layers.${i}.${name}`));
  assert.deepEqual(
    [...tensors.keys()].sort(),
    ["embed_tokens", ...layers, "norm"].map((name) => `model.${name}.weight`),
  );
  assert.deepEqual(tensors.get("model.layers.1.self_attn.k_proj.weight")?.shape, [8, 16], "[out, in]");
  const loaded = await loadTrained(files, "run");
  assert.equal(loaded.path, "run/step-00000002");
  assert.equal(loaded.tokenizer.vocabSize, trainer.tokenizer.vocabSize);
  assert.deepEqual(loaded.model.config, trainer.model.config);
  const again = tokenizerFromJson(new TextDecoder().decode(await files.read("run/step-00000002/tokenizer.json")));
  assert.deepEqual(again.encode(text), trainer.tokenizer.encode(text));
});

test("the events: start, steps, evaluations, checkpoints, done", async () => {
  await device("cpu");
  const { events } = await run(memoryFiles(), {}, { steps: 4, evaluateEvery: 2, checkpointEvery: 3 });
  assert.deepEqual(
    events.flatMap((e) => (e.event === "build" ? [] : "step" in e ? `${e.event} ${e.step}` : e.event)),
    [
      "start",
      "checkpoint 0",
      "step 1",
      "step 2",
      "eval 2",
      "step 3",
      "checkpoint 3",
      "step 4",
      "checkpoint 4",
      "eval 4",
      "done",
    ],
  );
  const [start, done] = [events[0], events.at(-1)];
  assert.ok(start?.event === "start" && done?.event === "done");
  assert.equal(start.tokensPerStep, 36);
  assert.equal(start.parameters, done.parameters);
});

test("a model that was trained goes on with another text, with its own tokenizer", async () => {
  await device("cpu");
  const files = memoryFiles();
  const { trainer } = await run(files, {}, { steps: 2 });
  const { tokenizer } = trainer;
  const losses: number[] = [];
  await trainer.train({
    data: { text: text.slice(0, 4000) },
    steps: 2,
    out: null,
    progress: null,
    onEvent: (e) => void (e.event === "step" && losses.push(e.loss)),
  });
  const fresh = await run(memoryFiles(), {}, { steps: 1 });
  assert.ok((losses[0] ?? 9) < (fresh.losses[0] ?? 0), "it begins where the first run ended");
  assert.deepEqual(trainer.tokenizer.toJSON(), tokenizer.toJSON());
});

test("a loss that is not finite: the step is not taken, the state before it is saved, the error says where", async () => {
  await device("cpu");
  const files = memoryFiles();
  await assert.rejects(run(files, { learningRate: 1e30, warmupSteps: 0 }, { steps: 6 }), (error: unknown) => {
    assert.ok(error instanceof NonFiniteError);
    assert.match(error.message, /step \d: the loss is \S+, .*the gradient of (model|lm_head)\S* is the first/);
    return true;
  });
  const saved = await latestCheckpoint(files, "run");
  assert.ok(saved && saved.step > 0);
  for (const { data } of saved.tensors["model"]?.values() ?? []) {
    assert.ok(new Float32Array(new Uint8Array(data).buffer).every(Number.isFinite));
  }
});

test("what cannot be trained on is refused before anything is written", async () => {
  await device("cpu");
  const cases: [TrainerOptions, TrainCall, RegExp, new (message: string) => Error][] = [
    [{ data: { text: "" } }, { steps: 1 }, /expected some text to learn from/, ArgumentError],
    [{ data: { text: "short" } }, { steps: 1 }, /too short/, ArgumentError],
    [{ data: "none.txt" }, { steps: 1 }, /cannot read none\.txt/, Error],
    [{}, {}, /steps: expected the length of the run/, ArgumentError],
    [{}, { steps: 0 }, /steps: expected a whole number of at least 1/, ArgumentError],
    [{}, { steps: Number.NaN }, /steps: expected a whole number of at least 1/, ArgumentError],
    [
      {},
      { steps: 1, checkpointEvery: 0 },
      /checkpointEvery: expected a whole number of at least 1, got 0/,
      ArgumentError,
    ],
    [{ warmupSteps: 9 }, { steps: 8 }, /warmupSteps: expected at most the run's 8 steps/, ArgumentError],
    [{}, { steps: 1, resume: true }, /run: there is no run to resume/, CheckpointError],
    [{ model: "llama-huge" }, { steps: 1 }, /there is no model "llama-huge"/, ArgumentError],
    [{ model: { ...config, numKeyValueHeads: 3 } }, { steps: 1 }, /num_key_value_heads/, FormatError],
  ];
  for (const [options, call, message, kind] of cases) {
    const files = memoryFiles();
    await assert.rejects(run(files, options, call), (error: unknown) => {
      assert.ok(error instanceof kind, String(error));
      assert.match(error.message, message);
      return true;
    });
    assert.equal(await files.exists("run"), false, String(message));
  }
  for (const bad of [
    { seqLen: 0 },
    { batchSize: -1 },
    { learningRate: Number.NaN },
    { dropout: 1 },
    { seed: 0.5 },
    { heldOut: 0 },
    { vocabSize: 255 },
  ]) {
    const [name] = Object.keys(bad);
    assert.throws(
      () => new Trainer(bad),
      (error: unknown) => error instanceof ArgumentError && error.message.startsWith(`Trainer: ${name}: expected`),
    );
  }
});

test("a learning rate may change when a run goes on, and is said to", async () => {
  await device("cpu");
  const files = memoryFiles();
  await run(files, {}, { steps: 4 }, 2);
  const warnings: string[] = [];
  await run(files, { learningRate: 1e-4 }, { resume: true, onWarning: (message) => void warnings.push(message) });
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? "", /^learningRate: not as in the checkpoint/);
});

test("nothing can be generated before training, and two runs at once are refused", async () => {
  const trainer = new Trainer({ files: memoryFiles(), model: config, data: { text }, seqLen: 12, batchSize: 3 });
  await assert.rejects(trainer.generate("a"), /there is no model yet/);
  const first = trainer.train({ steps: 1, out: null, progress: null });
  await assert.rejects(trainer.train({ steps: 1, out: null, progress: null }), /another call of it runs/);
  await first;
});
