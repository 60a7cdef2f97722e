/** `sinan train`: flags and help; `training.ts` does it. */
import { command } from "../command.ts";
import { deviceFlag, everywhere } from "../common-flags.ts";
import { flag, type Flags, real, text, type Values, whole } from "../flags.ts";

/** About two minutes on two cores. */
export const defaultSteps = 3000;

const trainFlags = {
  steps: whole("N", 1, 1e9, `length of the whole run, also of one that is resumed (default ${defaultSteps})`),
  data: text("FILE", "a UTF-8 text, JSON lines, a directory of these or a pattern (default: Moby Dick)"),
  field: text("NAME", "of a JSON line, where its text is (default text)"),
  "skip-bad-lines": flag("leave JSON lines out that have no text"),
  pack: flag("whole documents, several to a window, of which none sees another"),
  out: text("DIR", "where checkpoints go (default: runs/TEXT-MODEL, numbered if taken)"),
  resume: flag("continue the run in --out, or the last of the default name"),
  device: deviceFlag,
  json: flag("JSON lines on standard output"),
  seed: whole("N", 0, Number.MAX_SAFE_INTEGER, "of weights, order and dropout (default 0)"),
  model: text(
    "NAME",
    "the name of a preset (`sinan inspect` lists them), or the path of a config.json (default llama-tiny)",
  ),
  batch: whole("N", 1, 65536, "windows in a step (default 8)"),
  seq: whole("N", 1, 65536, "tokens in a window (default 64)"),
  vocab: whole("N", 256, 1e6, "ids of the tokenizer (default: the model's)"),
  lr: real("X", 1e-12, 10, "the highest learning rate (default 5e-3)"),
  warmup: whole("N", 0, 1e9, "steps until it is reached (default: a twentieth of the run)"),
  dropout: real("X", 0, 0.9, "share of elements dropped (default 0)"),
  "checkpoint-every": whole("N", 1, 1e9, "steps between checkpoints (default 100)"),
  "evaluate-every": whole("N", 1, 1e9, "steps between evaluations (default: a fifth of the run)"),
  ...everywhere,
} as const satisfies Flags;

export type TrainValues = Values<typeof trainFlags>;

export const trainCommand = command({
  name: "train",
  about: "train a language model on a text",
  flags: trainFlags,
  notes: `A directory that holds a run is never written over: without --out a new run gets a new directory, and with --out it is refused
unless it is resumed. Ctrl-C finishes the step, saves and ends with code 130; SIGTERM too,
within 20 seconds and with code 143.`,
  examples: [
    ["train", "two minutes on Moby Dick"],
    ["train --data my.txt --steps 2000 --out runs/mine", ""],
    ["train --data 'corpus/*.jsonl' --pack", "documents of many files, more than memory holds"],
    ["train --resume --out runs/mine", "goes on where it stopped, with the same losses"],
    ["train --device sim --steps 5 --json", ""],
  ],
  run: async (values) => (await import("../training.ts")).runTraining(values),
});
