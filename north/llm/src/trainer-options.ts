/** What a Trainer can be told, what it does when it is not told, and what it refuses. */
import { ArgumentError, CheckpointError, type Json } from "sinan";
import type { TextFile } from "@sinan/train";
import { checkKeep, learningNames, type LearningOptions, recorded as asJson } from "./trainer-learning.ts";
import { type LlamaConfig, llamaConfig, llamaConfigFromJson, llamaConfigToJson } from "./config.ts";

/** What is learned from: the path of a UTF-8 text, the text itself, or many files. A path may be that of a directory, a pattern
 *  (`corpus/*.jsonl`) or a JSON-lines file; what is larger than some megabytes is not held in memory. */
export type TextSource = string | { readonly text: string } | TextFiles;

/** Texts and JSON-lines files, however large: they are made token ids once, which a file keeps. */
export interface TextFiles {
  /** Paths, directories and patterns; in a page, what `blobFile` makes of a `File`. */
  readonly files: string | readonly (string | TextFile)[];
  /** The field of a JSON line that has its text. Default "text". */
  readonly field?: string;
  /** What to do about a line that is not JSON, or has no text in that field. Default "throw". */
  readonly onBadLine?: "throw" | "skip";
  /** The directory for token ids. Default: `sinan` in the user's cache directory. */
  readonly cache?: string;
  /** Learn from whole documents, several to a window, of which none sees another, in place of windows that run across documents.
   *  Default false. */
  readonly pack?: boolean;
}

/** What decides the numbers of a run. A resumed run has those of its checkpoint. */
export interface RunOptions extends LearningOptions {
  /** The name of a preset or a configuration. Its vocabulary becomes that of the tokenizer. Default `"llama-tiny"`. */
  readonly model?: string | LlamaConfig;
  readonly data?: TextSource;
  /** Tokens in a window. Default 64. */
  readonly seqLen?: number;
  /** Windows in a step. Default 8. */
  readonly batchSize?: number;
  /** Ids of the tokenizer that is trained on the text. Default: the model's. */
  readonly vocabSize?: number;
  /** Of weights, order of data and dropout. Default 0. */
  readonly seed?: number;
  /** The peak, after the warm-up. Default 5e-3, which suits models of less than a million weights. */
  readonly learningRate?: number;
  /** Steps in which the rate rises from 0. Default: a twentieth of the run, at least 10 steps. */
  readonly warmupSteps?: number;
  /** Default 0.1. */
  readonly weightDecay?: number;
  /** Default: the model's. */
  readonly dropout?: number;
  /** Largest global norm of a gradient. Default 1. */
  readonly clipNorm?: number;
  /** Share of the text, at its end, that is measured on and not learned from. Default 0.05. */
  readonly heldOut?: number;
}

/** All of it, with a value each. */
export interface RunSettings
  extends Required<
      Omit<RunOptions, keyof LearningOptions | "data" | "model" | "dropout" | "vocabSize" | "warmupSteps">
    >,
    LearningOptions {
  readonly model: LlamaConfig;
  readonly vocabSize: number;
  readonly warmupSteps: number;
  readonly steps: number;
}

/** What a run's `trainer.json` keeps of its options. */
export type Recorded = Readonly<Record<string, Json>>;

const numbers = {
  seqLen: { least: 1, most: 2 ** 20, whole: true },
  batchSize: { least: 1, most: 2 ** 20, whole: true },
  vocabSize: { least: 256, most: 2 ** 24, whole: true },
  seed: { least: 0, most: Number.MAX_SAFE_INTEGER, whole: true },
  learningRate: { least: Number.MIN_VALUE, most: 1e38, whole: false },
  warmupSteps: { least: 0, most: 1e9, whole: true },
  weightDecay: { least: 0, most: 1e6, whole: false },
  dropout: { least: 0, most: 0.99, whole: false },
  clipNorm: { least: Number.MIN_VALUE, most: Number.POSITIVE_INFINITY, whole: false },
  accumulate: { least: 1, most: 2 ** 20, whole: true },
  ema: { least: 0, most: 1 - 2 ** -24, whole: false },
  heldOut: { least: 1e-6, most: 0.9, whole: false },
  steps: { least: 1, most: 1e9, whole: true },
} as const satisfies Record<string, { least: number; most: number; whole: boolean }>;

type NumberName = keyof typeof numbers;
const isNumberName = (name: string): name is NumberName => Object.hasOwn(numbers, name);

/** @throws ArgumentError naming the option, what it may be and what came */
export function checkOptions(options: object & Pick<RunOptions, "keep">): void {
  for (const [name, value] of Object.entries(options) as [string, unknown][]) {
    if (value === undefined || !isNumberName(name)) continue;
    const { least, most, whole } = numbers[name];
    if (typeof value === "number" && value >= least && value <= most && (!whole || Number.isSafeInteger(value)))
      continue;
    const from = least === Number.MIN_VALUE ? "above 0" : `of at least ${least}`;
    const to = Number.isFinite(most) ? ` and at most ${most}` : "";
    throw new ArgumentError(
      `Trainer: ${name}: expected a ${whole ? "whole " : ""}number ${from}${to}, got ${String(value)}`,
    );
  }
  if (options.keep) checkKeep(options.keep);
}

/** The settings of a run: what was given, else what the checkpoint recorded, else the default.
 *  @throws ArgumentError; FormatError for a model that is none; CheckpointError if the record is not one */
export function settle(
  given: RunOptions & { readonly steps?: number | undefined },
  recorded: Recorded = {},
): RunSettings {
  const past: { [K in NumberName]?: number } = {};
  for (const [name, value] of Object.entries(recorded))
    if (isNumberName(name) && typeof value === "number") past[name] = value;
  try {
    checkOptions(past);
  } catch (cause) {
    throw new CheckpointError("trainer.json: the options are not those of a run", { cause });
  }
  checkOptions(given);
  const steps = given.steps ?? past.steps;
  if (steps === undefined)
    throw new ArgumentError("Trainer: steps: expected the length of the run, got nothing", {
      hint: "train({ steps: 300 })",
    });
  const named =
    given.model ??
    (recorded["model"] === undefined ? "llama-tiny" : llamaConfigFromJson(recorded["model"], "trainer.json: model"));
  const base = typeof named === "string" ? llamaConfig(named) : named;
  const seqLen = given.seqLen ?? past.seqLen ?? 64;
  const vocabSize = given.vocabSize ?? past.vocabSize ?? base.vocabSize;
  const warmupSteps = given.warmupSteps ?? past.warmupSteps ?? Math.min(steps, Math.max(10, Math.ceil(steps / 20)));
  if (warmupSteps > steps)
    throw new ArgumentError(`Trainer: warmupSteps: expected at most the run's ${steps} steps, got ${warmupSteps}`);
  const accumulate = given.accumulate ?? past.accumulate ?? 1;
  const batchSize = given.batchSize ?? past.batchSize ?? 8;
  if (batchSize % accumulate !== 0)
    throw new ArgumentError(
      `Trainer: accumulate: ${batchSize} windows of a batch cannot be split evenly in ${accumulate}`,
    );
  const ema = given.ema ?? past.ema;
  return {
    ...learning(given, recorded),
    accumulate,
    ...(ema === undefined ? {} : { ema }),
    model: checked({
      ...base,
      vocabSize,
      dropout: given.dropout ?? past.dropout ?? base.dropout,
      maxPositionEmbeddings: Math.max(base.maxPositionEmbeddings, seqLen),
    }),
    seqLen,
    vocabSize,
    batchSize,
    seed: given.seed ?? past.seed ?? 0,
    learningRate: given.learningRate ?? past.learningRate ?? 5e-3,
    warmupSteps,
    weightDecay: given.weightDecay ?? past.weightDecay ?? 0.1,
    clipNorm: given.clipNorm ?? past.clipNorm ?? 1,
    heldOut: given.heldOut ?? past.heldOut ?? 0.05,
    steps,
  };
}

/** The learning options that are no numbers. Those of a record are checked where they are used, as those that are given are. */
function learning(given: RunOptions, recorded: Recorded): LearningOptions {
  const found: Record<string, unknown> = {};
  for (const name of learningNames) {
    const value = given[name] ?? recorded[name];
    if (value === undefined) continue;
    if (value === null)
      throw new CheckpointError(`trainer.json: ${name} was given in a form that a file cannot hold`, {
        hint: `Give the same ${name} again.`,
      });
    found[name] = value;
  }
  return found;
}

/** @throws FormatError for sizes that do not fit together */
const checked = (config: LlamaConfig): LlamaConfig => llamaConfigFromJson(llamaConfigToJson(config), "Trainer: model");

/** What to record of a run so that `settle` gives it again. */
export function record({ model, clipNorm, ...settings }: RunSettings): Recorded {
  const shape = llamaConfigToJson(model) as Record<string, Json>;
  const { accumulate = 1, ema, seqLen, vocabSize, batchSize, seed, learningRate, warmupSteps } = settings;
  const { weightDecay, heldOut, steps } = settings;
  const own: Record<string, Json> = {};
  for (const name of learningNames) if (settings[name] !== undefined) own[name] = asJson(settings[name]);
  if (ema !== undefined) own["ema"] = ema;
  if (accumulate > 1) own["accumulate"] = accumulate;
  if (Number.isFinite(clipNorm)) own["clipNorm"] = clipNorm;
  const numbers = { seqLen, vocabSize, batchSize, seed, learningRate, warmupSteps, weightDecay, heldOut, steps };
  return { ...numbers, ...own, dropout: model.dropout, model: shape };
}

/** Options that may change when a run is resumed, though the numbers change with them: the names of those that did. */
export function changed(settings: RunSettings, recorded: Recorded): string[] {
  const now = record(settings);
  return ["learningRate", "warmupSteps", "weightDecay", "clipNorm", "optimizer", "schedule"].filter(
    (name) => recorded[name] !== undefined && JSON.stringify(recorded[name]) !== JSON.stringify(now[name]),
  );
}
