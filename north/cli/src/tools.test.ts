/** Commands on models that are there, in a directory with a small model and a run's history. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import test, { after, before } from "node:test";
import { nodeFiles } from "@sinan/train/node";
import {
  evaluateText,
  generateText,
  linesWithEndings,
  llama,
  llamaConfig,
  loadTrained,
  saveLlama,
  trainBpe,
} from "@sinan/llm";
import { device, key } from "sinan";
import { fixturePath } from "../../../tests/fixtures/load.ts";
import { type Ended, inOneProcess } from "./command-line.fixture.ts";
import { folded } from "./inspection.ts";

let cwd = "";
let sinan: ReturnType<typeof inOneProcess>;
const text = "Call me Ishmael. Some years ago – never mind how long – I went to sea.\n";

before(async () => {
  cwd = mkdtempSync(path.join(tmpdir(), "sinan-tools-"));
  await device("interpreter");
  const tokenizer = trainBpe(linesWithEndings(text.repeat(4)), { vocabSize: 280 });
  const config = llamaConfig("llama-tiny", {
    vocabSize: 280,
    hiddenSize: 16,
    intermediateSize: 24,
    numHiddenLayers: 3,
    numAttentionHeads: 2,
    numKeyValueHeads: 1,
    headDim: 8,
    maxPositionEmbeddings: 64,
  });
  await saveLlama(nodeFiles(), path.join(cwd, "model"), llama(config).init(key(1)));
  writeFileSync(path.join(cwd, "model", "tokenizer.json"), JSON.stringify(tokenizer));
  writeFileSync(path.join(cwd, "text.txt"), text);
  sinan = inOneProcess({ ...process.env, NO_COLOR: "1", SINAN_DEVICE: "interpreter" });
});
after(async () => {
  await sinan.close();
  rmSync(cwd, { recursive: true, force: true });
});

const run = (args: readonly string[], input = ""): Promise<Ended> => sinan.run(cwd, args, input);

async function done(args: readonly string[], input = ""): Promise<string> {
  const { code, out, err } = await run(args, input);
  assert.equal(code, 0, err);
  return out;
}

/** Several at once. */
const codes = async (...all: readonly (readonly string[])[]): Promise<(number | null)[]> =>
  Promise.all(all.map(async (args) => (await run(args)).code));

test("inspect tells a model's figures, its layers folded", async () => {
  const out = await done(["inspect", "model"]);
  assert.match(out, /parameters +\d[\d,]+/);
  assert.match(out, /model\.layers\.\{0…2\}\.mlp\.up_proj\.weight +\[24, 16\] +f32 +× 3/);
  assert.match(out, /tokenizer: 280 tokens/);
  const found = JSON.parse(await done(["inspect", "model", "--json"])) as {
    configuration: { parameters: number };
    weights: { parameters: number; bytes: number; groups: { count: number }[] };
  };
  assert.equal(found.weights.parameters, found.configuration.parameters);
  assert.equal(found.weights.bytes, 4 * found.weights.parameters);
  assert.equal((await done(["inspect", "model/model.safetensors", "--all"])).match(/up_proj/g)?.length, 3);
  // A file that `transformers` wrote, in three parts.
  const sharded = JSON.parse(await done(["inspect", fixturePath("hf", "sharded"), "--json"])) as typeof found;
  assert.deepEqual([sharded.weights.parameters, sharded.weights.bytes], [20064, 2 * 20064]);
});

test("layers are folded only where shapes and dtypes are one", () => {
  const info = (shape: number[], dtype: "f32" | "bf16" = "f32") => ({ shape, dtype, length: 4, offset: 0 });
  const groups = folded(
    new Map([
      ["h.0.w", info([2])],
      ["h.1.w", info([2])],
      ["h.10.w", info([2])],
      ["h.2.w", info([3])],
      ["h.3.w", info([2], "bf16")],
      ["w", info([2])],
    ]),
  );
  assert.deepEqual(
    groups.map(({ name, count }) => [name, count]),
    [
      ["h.{0…1,10}.w", 3],
      ["h.2.w", 1],
      ["h.3.w", 1],
      ["w", 1],
    ],
  );
});

test("inspect refuses what it does not know, naming it", async () => {
  writeFileSync(path.join(cwd, "torn.safetensors"), "\u0001\u0000");
  writeFileSync(path.join(cwd, "list.json"), "[1]");
  mkdirSync(path.join(cwd, "empty"), { recursive: true });
  const cases = {
    "none.json": "FileError",
    "torn.safetensors": "FormatError",
    "list.json": "FormatError",
    "text.txt": "FormatError",
    empty: "FormatError",
  };
  await Promise.all(
    Object.entries(cases).map(async ([name, error]) => {
      const { code, out, err } = await run(["inspect", name]);
      assert.deepEqual([code, out], [1, ""]);
      assert.ok(err.startsWith(`${error}: `), err);
    }),
  );
});

test("tokenize gives the ids of the tokenizers library, and back", async () => {
  const { samples, ids } = JSON.parse(readFileSync(fixturePath("tokenizer", "expected.json"), "utf8")) as {
    samples: string[];
    ids: Record<string, number[][]>;
  };
  const file = fixturePath("tokenizer", "gpt2.tokenizer.json");
  const at = samples.findIndex((sample) => sample.startsWith("Call me"));
  const [sample, expected] = [samples[at] ?? "", ids["gpt2"]?.[at] ?? []];
  const out = await done(["tokenize", "--tokenizer", file], sample);
  assert.equal(out.trim(), expected.join(" "));
  assert.equal(await done(["tokenize", "--tokenizer", file, "--decode"], out), `${sample}\n`);
  const counted = JSON.parse(
    await done(["tokenize", "--tokenizer", file, "--text", sample, "--show", "pieces", "--json"]),
  ) as {
    tokens: number;
    bytes: number;
    pieces: string[];
  };
  assert.deepEqual([counted.tokens, counted.bytes], [expected.length, Buffer.byteLength(sample)]);
  assert.equal(counted.pieces.join(""), sample);
  assert.match(
    await done(["tokenize", "--tokenizer", "model", "text.txt", "--show", "count"]),
    /^\d+ tokens, 75 bytes, 71 characters, /,
  );
  for (const args of [["--decode"], ["--text", "a", "text.txt"]]) {
    const { code } = await run(["tokenize", "--tokenizer", file, ...args], "1 x");
    assert.equal(code, 2);
  }
});

test("tokenize --train makes the tokenizer that trainBpe makes", async () => {
  const { code, out, err } = await run(["tokenize", "--train", "text.txt", "--vocab", "264", "--out", "new.json"]);
  assert.deepEqual([code, err], [0, ""]);
  assert.match(out, /^new\.json: 264 tokens/);
  const expected = trainBpe(linesWithEndings(text), { vocabSize: 264 });
  assert.deepEqual(JSON.parse(readFileSync(path.join(cwd, "new.json"), "utf8")), JSON.parse(JSON.stringify(expected)));
  assert.match(
    (await run(["tokenize", "--train", "text.txt", "--vocab", "9999", "--out", "new.json"])).err,
    /not for 9999/,
  );
  assert.deepEqual(await codes(["tokenize", "--train", "text.txt", "--text", "a"]), [2]);
});

test("eval gives what evaluateText gives", async () => {
  const { model, tokenizer } = await loadTrained(nodeFiles(), path.join(cwd, "model"));
  const expected = await evaluateText(model, tokenizer, text, { seqLen: 16 });
  const found = JSON.parse(
    await done(["eval", "--checkpoint", "model", "--data", "-", "--seq", "16", "--json"], text),
  ) as typeof expected;
  for (const name of ["tokens", "bytes", "loss", "perplexity", "bitsPerByte"] as const)
    assert.equal(found[name], expected[name], name);
  assert.match(await done(["eval", "--checkpoint", "model", "--data", "text.txt"]), /bits per byte +\d\.\d{4}\n/);
  assert.deepEqual(
    await codes(["eval", "--checkpoint", "model", "--data", "none.txt"], ["eval", "--checkpoint", "model"]),
    [1, 2],
  );
});

test("generate continues several prompts at once as each alone, and tells likelihoods", async () => {
  const options = ["--checkpoint", "model", "--max-tokens", "5", "--top-p", "0.9", "--json"];
  const lines = await done([
    "generate",
    ...options,
    "--prompt",
    "Call me",
    "--prompt",
    "I",
    "--seed",
    "4",
    "--logprobs",
    "2",
  ]);
  const [first, second] = lines
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const alone = JSON.parse(await done(["generate", ...options, "--prompt", "I", "--seed", "5"])) as Record<
    string,
    unknown
  >;
  const { tokens, ...rest } = second ?? {};
  assert.deepEqual(rest, alone);
  assert.equal((tokens as unknown[]).length, 5);
  assert.equal(first?.["finish"], "length");
});

test("chat answers each line, and begins anew on /reset", async () => {
  const args = ["chat", "--checkpoint", "model", "--max-tokens", "4", "--json", "--temperature", "0"];
  const replies = (await done(args, "Call me\n\nI went\n/reset\nCall me\n"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { message: string; reply: string; finish: string });
  assert.deepEqual(
    replies.map(({ message }) => message),
    ["Call me", "I went", "Call me"],
  );
  assert.deepEqual(replies[2], replies[0]);
  const plain = await done(["chat", "--checkpoint", "model", "--max-tokens", "4", "--temperature", "0"], "Call me\n");
  assert.equal(plain.trimEnd(), replies[0]?.reply.trimEnd());
  assert.deepEqual(await codes(["chat", "--checkpoint", "model", "--turn", "no place"]), [2]);
});

test("chat writes the conversation as the template beside the model says, replies included", async () => {
  const directory = path.join(cwd, "assistant");
  cpSync(path.join(cwd, "model"), directory, { recursive: true });
  const template = "{% for m in messages %}{{ m.role[:1] }}={{ m.content }}{{ eos_token }}{% endfor %}a=";
  const config = { eos_token: "!", chat_template: template };
  writeFileSync(path.join(directory, "tokenizer_config.json"), JSON.stringify(config));
  const { model, tokenizer } = await loadTrained(nodeFiles(), directory);
  const replyTo = async (prompt: string): Promise<string> => {
    let text = "";
    const options = { maxTokens: 4, stopIds: [tokenizer.tokenToId("!") ?? -1] };
    for await (const piece of generateText(model, tokenizer, prompt, options)) text += piece;
    return text;
  };
  const args = ["chat", "--checkpoint", "assistant", "--max-tokens", "4", "--temperature", "0", "--json"];
  const repliesOf = (out: string): string[] =>
    out
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { reply: string }).reply);
  const first = await replyTo("s=Be brief.!u=Who?!a=");
  const second = await replyTo(`s=Be brief.!u=Who?!a=${first}!u=Why?!a=`);
  const replies = repliesOf(await done([...args, "--system", "Be brief."], "Who?\nWhy?\n/reset\nWho?\n"));
  assert.deepEqual(replies, [first, second, first]);
  // What the command line says goes before; chat_template.jinja before the configuration's.
  assert.deepEqual(repliesOf(await done([...args, "--turn", "Q: {} A:"], "Who?\n")), [await replyTo("Q: Who? A:")]);
  writeFileSync(path.join(directory, "chat_template.jinja"), "{{ messages[-1].content }}:");
  assert.deepEqual(repliesOf(await done(args, "Who?\n")), [await replyTo("Who?:")]);
  writeFileSync(path.join(directory, "chat_template.jinja"), "{{ raise_exception('not today') }}");
  assert.match((await run(args, "Who?\n")).err, /^ArgumentError: chat template: .*not today/);
  writeFileSync(path.join(directory, "chat_template.jinja"), "{{");
  assert.match((await run(args, "Who?\n")).err, /^FormatError: assistant: chat template: it cannot be parsed/);
});

test("a conversation by template that is longer than the model forgets its oldest exchanges, and goes on", async () => {
  const directory = path.join(cwd, "assistant");
  writeFileSync(path.join(directory, "chat_template.jinja"), "{% for m in messages %}{{ m.content }}{% endfor %}:");
  const args = ["chat", "--checkpoint", "assistant", "--max-tokens", "8", "--temperature", "0", "--json"];
  const questions = Array.from({ length: 12 }, (_, i) => `Some years ago, ${i}?`);
  const { code, out, err } = await run(args, questions.join("\n"));
  assert.equal(code, 0, err);
  assert.equal(err, "sinan: the conversation is longer than 64 tokens: its beginning is forgotten (--context N)\n");
  assert.deepEqual(
    out
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { message: string }).message),
    questions,
  );
});

test("chat remembers no more than --context, says when it forgets, and refuses a message that is longer", async () => {
  const chat = ["chat", "--checkpoint", "model", "--max-tokens", "4", "--temperature", "0"];
  for (const turn of [
    ["--turn", "{}\\n"],
    ["--turn", "{}\\n", "--system", "Be brief."],
  ]) {
    const short = await run([...chat, ...turn, "--context", "40"], "Call me\n".repeat(12));
    assert.equal(short.code, 0, short.err);
    assert.equal(
      short.err,
      "sinan: the conversation is longer than 64 tokens: its beginning is forgotten (--context N)\n",
    );
  }
  assert.equal((await run(chat, "Call me\nI went\n")).err, "");
  const long = await run([...chat, "--context", "40"], `${"Call me Ishmael ".repeat(20)}\n`);
  assert.equal(long.code, 1);
  assert.match(
    long.err,
    /^ContextError: the message: its \d+ tokens and a reply do not fit the 64 of the context\n.*--context/,
  );
  const beyond = await run([...chat, "--context", "65"], "Call me\n");
  assert.equal(beyond.code, 2);
  assert.match(beyond.err, /--context: expected at most the model's 64 positions, got 65/);
});

test("runs lists states and last figures, and says what two were told differently", async () => {
  const event = (record: object): string => `${JSON.stringify(record)}\n`;
  const history = (steps: number, last: number, rate: number): string =>
    event({ event: "start", steps, from: 0, tokensPerStep: 64, learningRate: rate, seqLen: 8, time: 1000 }) +
    event({ event: "step", step: last, loss: 2.5, norm: 1, rate, tokensPerSecond: 100, time: 1001 }) +
    event({ event: "eval", step: last, loss: 2.25, bitsPerByte: 1.5, time: 1002 }) +
    '{"event":"step","st';
  for (const [name, text] of Object.entries({
    whole: history(10, 10, 0.1),
    half: history(10, 5, 0.2),
    alive: history(10, 7, 0.1),
  })) {
    mkdirSync(path.join(cwd, "runs", name), { recursive: true });
    writeFileSync(path.join(cwd, "runs", name, "events.jsonl"), text);
  }
  mkdirSync(path.join(cwd, "runs", "no-run"), { recursive: true });
  const lock = (pid: number): string => JSON.stringify({ id: "x", pid, started: null, host: hostname() });
  writeFileSync(path.join(cwd, "runs", "alive", ".lock"), lock(process.pid));
  writeFileSync(path.join(cwd, "runs", "half", ".lock"), lock(2 ** 22 + 1));
  const found = JSON.parse(await done(["runs", "--json"])) as {
    path: string;
    state: string;
    step: number;
    loss: number;
  }[];
  assert.deepEqual(
    found
      .map(({ path: p, state, step, loss }) => [path.basename(p), state, step, loss])
      .sort(([a], [b]) => String(a).localeCompare(String(b))),
    [
      ["alive", "running", 7, 2.5],
      ["half", "stopped", 5, 2.5],
      ["whole", "done", 10, 2.5],
    ],
  );
  assert.match(await done(["runs"]), /runs\/half +stopped +5 of 10 +2\.500 +2\.250 +1\.500 +1970-01-01 00:16/);
  const compared = await done(["runs", "runs/whole", "runs/half"]);
  assert.match(compared, /learningRate +0\.1 +0\.2/);
  assert.match(compared, /the same settings: .*seqLen/);
  assert.deepEqual(await codes(["runs", "runs/whole", "runs/no-run"], ["runs", "nowhere"]), [2, 1]);
  assert.match(await done(["runs", "model"]), /there are no runs in it/);
});

test("bench gives its figures as JSON", async () => {
  const figures = JSON.parse(await done(["bench", "--device", "cpu", "--seconds", "0.05", "--json"])) as {
    value: number;
    unit: string;
  }[];
  assert.deepEqual(
    figures.map(({ unit }) => unit),
    ["GFLOP/s", "GB/s", "tokens/s", "tokens/s"],
  );
  assert.ok(figures.every(({ value }) => value > 0 && Number.isFinite(value)));
});
