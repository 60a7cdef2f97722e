/** The command line as a user meets it. Runs that are killed, and what asks for rights of its own, are processes of their own. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import test, { after, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { type Ended, inOneProcess } from "./command-line.fixture.ts";

const main = fileURLToPath(new URL("main.ts", import.meta.url));
const steps = 12;
const tiny = [
  "--model",
  "tiny.json",
  "--data",
  "text.txt",
  "--batch",
  "2",
  "--seq",
  "16",
  "--dropout",
  "0.1",
  "--device",
  "interpreter",
  "--steps",
  `${steps}`,
];

const config = {
  model_type: "llama",
  vocab_size: 270,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  tie_word_embeddings: true,
};

/** Some text of our own: sentences whose words follow each other irregularly. */
function sentences(count: number): string {
  const words = "the whale sea ship captain old white deep calls under over runs against my own heart and".split(" ");
  let word = 0;
  return Array.from({ length: count }, (_, i) => {
    const sentence = Array.from(
      { length: 5 + (i % 7) },
      (_, j) => words[(word = (word * 5 + i * 3 + j + 1) % words.length)],
    );
    return `${sentence.join(" ")}.\n`;
  }).join("");
}

async function scratch(t: TestContext): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), "sinan-cli-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  await writeFile(path.join(directory, "tiny.json"), JSON.stringify(config));
  await writeFile(path.join(directory, "text.txt"), sentences(120));
  return directory;
}

const cache = await mkdtemp(path.join(tmpdir(), "sinan-cache-"));
const environment: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1", XDG_CACHE_HOME: cache };
delete environment["SINAN_DEVICE"];
const one = inOneProcess(environment);
after(async () => {
  await one.close();
  await rm(cache, { recursive: true, force: true });
});

/** In a process of its own. */
function start(cwd: string, args: readonly string[], options: { uid?: number } = {}): ChildProcess {
  return spawn(process.execPath, [main, ...args], {
    cwd,
    env: environment,
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
  });
}

async function ended(child: ChildProcess): Promise<Ended> {
  let out = "";
  let err = "";
  child.stdout?.on("data", (piece: Buffer) => (out += piece.toString()));
  child.stderr?.on("data", (piece: Buffer) => (err += piece.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, out, err };
}

const sinan = (cwd: string, ...args: string[]): Promise<Ended> => one.run(cwd, args);

interface Line {
  readonly event: string;
  readonly step?: number;
  readonly loss?: number;
  readonly [field: string]: unknown;
}

const linesOf = (out: string): Line[] =>
  out
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Line);
const lossesOf = (out: string): Map<number, number> =>
  new Map(
    linesOf(out).flatMap(({ event, step, loss }) => (event === "step" ? [[Number(step), Number(loss)] as const] : [])),
  );

/** Starts a run, acts once the line of that step is there, and waits for the end. */
async function actAt(step: number, child: ChildProcess, act: (child: ChildProcess) => void): Promise<Ended> {
  const all = ended(child);
  assert.ok(child.stdout);
  for await (const line of createInterface({ input: child.stdout })) {
    if ((JSON.parse(line) as Line).step === step) act(child);
  }
  return all;
}

test("train --json tells steps, evaluations and the end, and nothing else", async (t) => {
  const cwd = await scratch(t);
  const { code, out, err } = await sinan(cwd, "train", ...tiny, "--out", "run", "--json", "--evaluate-every", "5");
  assert.deepEqual([code, err], [0, ""]);
  const lines = linesOf(out);
  const told = lines.map(({ event, step }) => (event === "done" ? "done" : `${event} ${step}`));
  const expected = Array.from({ length: steps }, (_, i) => [
    `step ${i + 1}`,
    ...([5, 10, 12].includes(i + 1) ? [`eval ${i + 1}`] : []),
  ]).flat();
  assert.deepEqual(told, [...expected, "done"]);
  for (const line of lines) {
    if (line.event === "step") assert.deepEqual(Object.keys(line), ["event", "step", "loss", "tokensPerSecond"]);
    if (line.event === "eval") assert.deepEqual(Object.keys(line), ["event", "step", "loss", "bitsPerByte"]);
  }
  const done = lines.at(-1) as Line & { baselines: Record<string, number> };
  assert.deepEqual(Object.keys(done), [
    "event",
    "steps",
    "parameters",
    "seconds",
    "bitsPerByte",
    "baselines",
    "checkpoint",
  ]);
  assert.deepEqual(Object.keys(done.baselines), ["unigram", "bigram", "trigram"]);
  assert.equal(done["bitsPerByte"], lines.at(-2)?.["bitsPerByte"]);
  assert.equal(done["checkpoint"], "run/step-00000012");
  assert.equal(done["parameters"], 270 * 16 + 2 * (2 * 16 * 8 * 3 + 3 * 16 * 24 + 32) + 16);
  const saved = await readdir(path.join(cwd, "run/step-00000012"));
  assert.deepEqual(saved.sort(), [
    "config.json",
    "manifest.json",
    "model.safetensors",
    "optimizer.safetensors",
    "tokenizer.json",
    "trainer.json",
  ]);
});

test("without --json: figures beside the baselines, a sample, the checkpoint and what to do next", async (t) => {
  const cwd = await scratch(t);
  const { code, out, err } = await sinan(cwd, "train", ...tiny);
  assert.equal(code, 0);
  assert.match(err, /step 12\/12 {2}loss \d\.\d+ {2}[\d,]+ tokens\/s/);
  assert.match(out, /unigram +\d\.\d+.*\n.*bigram.*\n.*trigram.*\n.*this model +\d\.\d+/);
  assert.match(out, /the model continues \S+/);
  assert.match(out, /checkpoint +runs\/text-llama\/step-00000012/);
  assert.match(out, /sinan generate --checkpoint runs\/text-llama --prompt/);
  assert.doesNotMatch(out + err, new RegExp(String.fromCharCode(27)), "no colours where nobody sees them");
});

test("JSON lines of a pattern, packed, with a field of their own and bad lines left out", async (t) => {
  const cwd = await scratch(t);
  const lines = sentences(120).split("\n").filter(Boolean);
  const jsonl = (some: readonly string[]): string => some.map((body) => `${JSON.stringify({ body })}\n`).join("");
  await writeFile(path.join(cwd, "a.jsonl"), jsonl(lines.slice(0, 60)));
  await writeFile(path.join(cwd, "b.jsonl"), `no JSON\n${jsonl(lines.slice(60))}`);
  const args = ["--model", "tiny.json", "--data", "*.jsonl", "--field", "body", "--pack", "--steps", "3", "--json"];
  const more = ["--seq", "16", "--batch", "2", "--device", "interpreter"];
  const train = (...flags: string[]): Promise<Ended> => sinan(cwd, "train", ...args, ...more, ...flags);
  const refused = await train();
  assert.equal(refused.code, 1);
  assert.match(refused.err, /^FormatError: b\.jsonl: line 1: not valid JSON/);
  const { code, out, err } = await train("--skip-bad-lines");
  assert.equal(code, 0, err);
  assert.equal(lossesOf(out).size, 3);
  const nothing = await sinan(cwd, "train", "--pack");
  assert.equal(nothing.code, 2);
  assert.match(nothing.err, /--pack says how --data is read, and there is no --data/);
});

test("a run that is there is not written over", async (t) => {
  const cwd = await scratch(t);
  const args = [...tiny.slice(0, -1), "2"];
  assert.equal((await sinan(cwd, "train", ...args, "--json")).code, 0);
  assert.equal((await sinan(cwd, "train", ...args, "--json")).code, 0);
  assert.deepEqual(await readdir(path.join(cwd, "runs")), ["text-llama", "text-llama-2"]);
  const refused = await sinan(cwd, "train", ...args, "--out", "runs/text-llama");
  assert.deepEqual([refused.code, refused.out], [1, ""]);
  assert.match(
    refused.err,
    /^CheckpointError: runs\/text-llama: there is a run in this directory, at step 2\n {2}Continue it with --resume/,
  );
  assert.doesNotMatch(refused.err, /\n\s+at /, "no stack");
});

test("killed with no warning at any moment, a resumed run gives the losses of one that never stopped", async (t) => {
  const cwd = await scratch(t);
  const whole = lossesOf((await sinan(cwd, "train", ...tiny, "--out", "whole", "--json")).out);
  assert.equal(whole.size, steps);
  await Promise.all(
    [1, 5, 11].map(async (at) => {
      const out = `killed-${at}`;
      const args = ["train", ...tiny, "--out", out, "--json", "--checkpoint-every", "4"];
      const first = await actAt(at, start(cwd, args), (child) => child.kill("SIGKILL"));
      assert.equal(first.code, null);
      // Flags that are left out are those of the run.
      const second = await ended(start(cwd, ["train", "--resume", "--out", out, "--json", "--device", "interpreter"]));
      assert.equal(second.code, 0, second.err);
      const losses = new Map([...lossesOf(first.out), ...lossesOf(second.out)]);
      assert.deepEqual(
        [...losses].sort(([a], [b]) => a - b),
        [...whole],
      );
      assert.ok(lossesOf(second.out).size <= steps - Math.floor((at - 1) / 4) * 4, "it does not begin anew");
    }),
  );
});

for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  test(`${signal} finishes the step, saves, says how to go on and ends with ${code}`, async (t) => {
    const cwd = await scratch(t);
    const long = [...tiny.slice(0, -1), "400"];
    const stopped = await actAt(3, start(cwd, ["train", ...long, "--out", "run", "--json"]), (child) =>
      child.kill(signal),
    );
    assert.equal(stopped.code, code, stopped.err);
    const last = linesOf(stopped.out).at(-1);
    assert.equal(last?.event, "step");
    const step = Number(last?.step);
    assert.ok(step >= 3 && step < 400);
    assert.match(
      stopped.err,
      new RegExp(
        `sinan: stopped after step ${step}, saved in run/step-0*${step}; continue with: npx sinan train --resume --out run\n$`,
      ),
    );
    const { step: saved } = JSON.parse(
      await readFile(path.join(cwd, `run/step-${String(step).padStart(8, "0")}/trainer.json`), "utf8"),
    ) as { step: number };
    assert.equal(saved, step);
    const next = await actAt(
      step + 1,
      start(cwd, ["train", "--resume", "--out", "run", "--json", "--device", "interpreter"]),
      (child) => child.kill("SIGKILL"),
    );
    assert.equal(linesOf(next.out)[0]?.step, step + 1);
  });
}

test("a checkpoint of another run is refused by name", async (t) => {
  const cwd = await scratch(t);
  await actAt(2, start(cwd, ["train", ...tiny, "--out", "run", "--json", "--checkpoint-every", "1"]), (child) =>
    child.kill("SIGKILL"),
  );
  await writeFile(path.join(cwd, "other.txt"), sentences(140));
  await writeFile(path.join(cwd, "other.json"), JSON.stringify({ ...config, num_hidden_layers: 3 }));
  const cases: [string[], RegExp][] = [
    [["--data", "other.txt"], /^CheckpointError: run\/step-\d+: data differs/],
    [["--model", "other.json"], /^CheckpointError: run\/step-\d+: model differs/],
    [["--seed", "7"], /^CheckpointError: run\/step-\d+: seed differs: the checkpoint was made with 0, this run has 7/],
    [
      ["--steps", "99"],
      /^CheckpointError: run\/step-\d+: steps differs: the checkpoint was made with 12, this run has 99/,
    ],
    [["--batch", "3"], /^CheckpointError: run\/step-\d+: batch shape differs: .*\[2, 16\], this run has \[3, 16\]/],
  ];
  await Promise.all(
    cases.map(async ([args, message]) => {
      const copy = `copy${args[0]}`;
      await cp(path.join(cwd, "run"), path.join(cwd, copy), { recursive: true });
      const { code, out, err } = await sinan(
        cwd,
        "train",
        "--resume",
        "--out",
        copy,
        "--device",
        "interpreter",
        ...args,
      );
      assert.deepEqual([code, out], [1, ""], err);
      assert.match(err.replaceAll(copy, "run"), message);
    }),
  );
});

test("what cannot be read or written is said in two lines, and nothing is left behind", async (t) => {
  const cwd = await scratch(t);
  await writeFile(path.join(cwd, "empty.txt"), "");
  await writeFile(path.join(cwd, "short.txt"), "Call me Ishmael.");
  await writeFile(path.join(cwd, "latin1.txt"), Buffer.from(sentences(50).replaceAll("whale", "wh\u00e5le"), "latin1"));
  await writeFile(path.join(cwd, "broken.json"), '{"model_type": "llama"');
  await mkdir(path.join(cwd, "locked"));
  await chmod(path.join(cwd, "locked"), 0o555);
  await chmod(cwd, 0o755);
  const given = (flag: string, value: string): string[] => [
    "train",
    ...tiny.map((word, i) => (tiny[i - 1] === flag ? value : word)),
    "--out",
    "run",
  ];
  const cases: [string[], RegExp][] = [
    [
      given("--data", "none.txt"),
      /^FileError: cannot read none\.txt: there is no such file or directory \(ENOENT\)\n {2}\S/,
    ],
    [given("--data", "locked"), /^ArgumentError: data: locked: there is no such text/],
    [given("--data", "empty.txt"), /^ArgumentError: empty\.txt: expected some text to learn from, the file is empty/],
    [given("--data", "short.txt"), /^ArgumentError: short\.txt: the text is too short/],
    [given("--data", "latin1.txt"), /^FormatError: latin1\.txt: expected UTF-8/],
    [given("--model", "broken.json"), /^FormatError: broken\.json/],
    [given("--model", "none.json"), /^FileError: cannot read none\.json/],
    [["train", ...tiny, "--out", "none", "--resume"], /^CheckpointError: none: there is no run to resume/],
    [["train", ...tiny, "--out", "text.txt/run"], /^FileError: .*\(ENOTDIR\)/],
    [["generate", "--checkpoint", "none", "--prompt", "a"], /^FileError: .*none.*\(ENOENT\)/],
    [["generate", "--checkpoint", "locked", "--prompt", "a"], /^CheckpointError: locked: no checkpoint there/],
  ];
  await Promise.all(
    cases.map(async ([args, message]) => {
      const { code, out, err } = await sinan(cwd, ...args);
      assert.deepEqual([code, out], [1, ""], err);
      assert.match(err, message);
      assert.doesNotMatch(err, /\n\s+at /, "no stack");
    }),
  );
  // Permissions do not bind root.
  const uid = process.geteuid?.() === 0 ? 65534 : undefined;
  const locked = await ended(start(cwd, ["train", ...tiny, "--out", "locked/run"], uid === undefined ? {} : { uid }));
  assert.equal(locked.code, 1);
  assert.match(locked.err, /FileError: .*locked\/run.*permission is denied \(EACCES\)/);
  assert.deepEqual(
    (await readdir(cwd)).filter((name) => !/\.(txt|json)$/.test(name)),
    ["locked"],
  );
});

test("a command line that makes no sense ends with 2", async (t) => {
  const cwd = await scratch(t);
  const cases: [string[], RegExp][] = [
    [["trian"], /^UsageError: sinan: there is no command "trian"\n {2}Did you mean train\?/],
    [["train", "--step", "5"], /^UsageError: sinan train: there is no flag --step\n {2}Did you mean --steps\?/],
    [["train", "--model", "llama-tinny"], /Did you mean llama-tiny\?/],
    [
      ["train", "--data", "text.txt", "--device", "abacus"],
      /--device: there is no device "abacus"\n {2}There are .*interpreter/,
    ],
    [["bench", "--device", "cpuu"], /--device: there is no device "cpuu"\n {2}Did you mean cpu\?/],
    [["generate", "--prompt", "a"], /--checkpoint is missing/],
  ];
  await Promise.all(
    cases.map(async ([args, message]) => {
      const { code, out, err } = await sinan(cwd, ...args);
      assert.deepEqual([code, out], [2, ""]);
      assert.match(err, message);
    }),
  );
  for (const args of [["--help"], ["train", "--help"], ["generate", "-h"], ["devices", "--help"]]) {
    const { code, out } = await sinan(cwd, ...args);
    assert.equal(code, 0);
    assert.match(out, /^sinan.*\n\n {2}/);
  }
});

test("generate: the seed decides the text, and a damaged checkpoint is passed over", async (t) => {
  const cwd = await scratch(t);
  assert.equal((await sinan(cwd, "train", ...tiny, "--out", "run", "--json", "--checkpoint-every", "6")).code, 0);
  const generate = (...args: string[]) =>
    sinan(
      cwd,
      "generate",
      "--checkpoint",
      "run",
      "--prompt",
      "the old",
      "--max-tokens",
      "12",
      "--device",
      "interpreter",
      ...args,
    );
  const [one, again, other, greedy, plain, long] = await Promise.all([
    generate("--seed", "1", "--json"),
    generate("--seed", "1", "--json"),
    generate("--seed", "2", "--json"),
    generate("--temperature", "0", "--json"),
    generate("--seed", "1"),
    sinan(
      cwd,
      "generate",
      "--checkpoint",
      "run",
      "--prompt",
      "the old",
      "--max-tokens",
      "1000",
      "--device",
      "interpreter",
    ),
  ]);
  const parsed = JSON.parse(one.out) as { prompt: string; text: string; seed: number };
  assert.deepEqual([parsed.prompt, parsed.seed], ["the old", 1]);
  assert.equal(one.out, again.out);
  assert.notEqual(parsed.text, (JSON.parse(other.out) as { text: string }).text);
  assert.equal(greedy.code, 0);
  assert.equal(plain.out, `the old${parsed.text}\n`);
  assert.equal(long.code, 1);
  assert.match(long.err, /^ContextError: .*more than the model's 64 positions/);

  await truncate(path.join(cwd, "run/step-00000012/model.safetensors"), 1000);
  const older = await generate("--seed", "1", "--json");
  assert.equal(older.code, 0);
  assert.match(older.err, /step-00000012 is skipped: .*the manifest says \d+ bytes, the file has 1000/);
  assert.equal((JSON.parse(older.out) as { checkpoint: string }).checkpoint, "run/step-00000006");
  const exact = await sinan(
    cwd,
    "generate",
    "--checkpoint",
    "run/step-00000012",
    "--prompt",
    "a",
    "--device",
    "interpreter",
  );
  assert.equal(exact.code, 1);
  assert.match(exact.err, /^FormatError: run\/step-00000012\/model\.safetensors: the manifest says/);
});

test("devices --json lists what there is", async (t) => {
  const { code, out } = await sinan(await scratch(t), "devices", "--json");
  assert.equal(code, 0);
  const devices = JSON.parse(out) as Record<string, unknown>[];
  assert.ok(devices.some(({ name, available }) => name === "interpreter" && available === true));
  for (const device of devices) {
    const { name, driver, kind, vendor, available, ...rest } = device;
    assert.deepEqual(
      [name, driver, kind, vendor].map((v) => typeof v),
      ["string", "string", "string", "string"],
    );
    assert.equal(typeof available, "boolean");
    assert.ok(Object.keys(rest).every((key) => key === "reason"));
  }
});
