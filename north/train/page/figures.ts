/** Which curves there are: what a chart is called, in which unit, and what belongs together. */
import type { RunData } from "../src/reports/record.ts";
import { bytes, type Format, plain, short } from "./scale.ts";

export interface FigureLine {
  /** Of the run's series. */
  readonly key: string;
  readonly label: string;
  /** Few values, drawn as dots on a line and not smoothed. */
  readonly dots?: boolean;
}

export interface Figure {
  readonly title: string;
  readonly lines: readonly FigureLine[];
  readonly format: Format;
  /** On the axis, where room is short. */
  readonly tick?: Format;
  /** Noisy: the slider smooths it. */
  readonly smooth?: boolean;
  /** Ticks in powers of ten when asked for. */
  readonly log?: boolean;
  readonly fromZero?: boolean;
  readonly wide?: boolean;
}

const known: readonly Figure[] = [
  {
    title: "Loss",
    lines: [
      { key: "loss", label: "train" },
      { key: "eval/loss", label: "held-out", dots: true },
    ],
    format: plain,
    smooth: true,
    log: true,
    wide: true,
  },
  { title: "Learning rate", lines: [{ key: "rate", label: "rate" }], format: plain, fromZero: true },
  { title: "Gradient norm", lines: [{ key: "norm", label: "norm" }], format: plain, smooth: true, log: true },
  {
    title: "Tokens per second",
    lines: [{ key: "tokensPerSecond", label: "tokens/s" }],
    format: plain,
    tick: short,
    smooth: true,
    fromZero: true,
  },
  {
    title: "Memory",
    lines: [
      { key: "peakBytes", label: "tensors, peak" },
      { key: "memory/process", label: "process" },
    ],
    format: bytes,
    fromZero: true,
  },
  {
    title: "Held-out bits per byte",
    lines: [{ key: "eval/bitsPerByte", label: "bits per byte", dots: true }],
    format: plain,
    log: true,
  },
];

/** Not shown as charts of their own. */
const silent = new Set(["seconds", "elapsed"]);

/** The charts of some runs: the known ones that have values, then a chart for each other series. */
export function figuresOf(runs: readonly RunData[]): Figure[] {
  const keys = new Set(runs.flatMap((run) => Object.keys(run.series).filter((key) => !silent.has(key))));
  const chosen = known.filter(({ lines }) => lines.some(({ key }) => keys.has(key)));
  for (const { lines } of known) for (const { key } of lines) keys.delete(key);
  const others = [...keys].map((key) => ({
    title: key,
    lines: [{ key, label: key }],
    format: plain,
    smooth: true,
    log: true,
  }));
  return [...chosen, ...others];
}
