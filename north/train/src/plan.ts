/** What a run will take before it begins: parameters, memory by kind, operations, time. From the compiled step, which is not run. */
import { changeTier, dtypes, footprint, key, random, tree } from "sinan";
import { firstState, type StepOptions, trainStep } from "./step.ts";
import { grouped } from "./reports/figures.ts";
import type { Task, TrainState } from "./task.ts";

/** Bytes of the device at the step's peak. */
export interface RunBytes {
  readonly weights: number;
  readonly gradients: number;
  /** Means of gradients and what else the optimizer keeps. */
  readonly optimizer: number;
  /** The running mean of the weights. */
  readonly ema: number;
  readonly batch: number;
  /** All else that is alive at the peak. */
  readonly activations: number;
  readonly peak: number;
}

/** What a run will take; as text, a table. */
export interface RunPlan {
  readonly parameters: number;
  readonly steps: number;
  readonly tokensPerStep: number;
  readonly bytes: RunBytes;
  readonly flopsPerStep: number;
  readonly flopsPerToken: number;
  /** Undefined where the device does not tell how fast it is. */
  readonly tokensPerSecond: number | undefined;
  /** Of all the steps; undefined as above. */
  readonly seconds: number | undefined;
  /** Where the rate is from: steps of this process, or what the device can do by each kernel's operations and bytes. */
  readonly rate: "measured" | "estimated";
  /** A small table. */
  toString(): string;
}

/** The run that is planned. */
export interface PlanOptions extends StepOptions {
  readonly steps: number;
  /** As it was measured, if it was. */
  readonly tokensPerSecond?: number | undefined;
}

/** Kernels reach about this part of the roofline, all of a step together (docs/performance.md). */
const reached = 0.6;

/** Plans a run of a task. The step is compiled, and compiled for the run by that.
 *
 *  @throws what compiling the step throws; ArgumentError
 *  @example console.log(String(await planRun(task, { steps: 1000 }))); */
export async function planRun<M, S extends TrainState<M>, B>(
  task: Task<M, S, B>,
  { steps, tokensPerSecond, ...options }: PlanOptions,
): Promise<RunPlan> {
  const { cost } = await import("sinan/explain");
  // The tier that the run will have: see `beginRun`.
  await changeTier("auto");
  const step = trainStep(task, options);
  const { train, ema, scaling } = firstState(task, options);
  const { model, ...rest } = train;
  const batch = await task.batch(0);
  const inputs = { batch, rate: task.rate(0), key: random.fold(key(0), 0), limit: Number.POSITIVE_INFINITY };
  const args = [{ train, ema, scaling }, inputs] as const;
  const { peakBytes } = await footprint(step, ...args);
  const { flops, seconds: least } = await cost(step, ...args);
  const parameters = tree.tensors(model).reduce((n, { tensor }) => n + tensor.size, 0);
  const known = {
    weights: bytesOf(model),
    gradients: bytesOf(model),
    optimizer: bytesOf(rest),
    ema: bytesOf(ema),
    batch: bytesOf(batch),
  };
  const { tokensPerStep } = task;
  const rate = tokensPerSecond ?? (least === undefined ? undefined : (tokensPerStep * reached) / least);
  const named = known.weights + known.gradients + known.optimizer + known.ema + known.batch;
  const plan = {
    parameters,
    steps,
    tokensPerStep,
    bytes: { ...known, activations: Math.max(0, peakBytes - named), peak: peakBytes },
    flopsPerStep: flops,
    flopsPerToken: flops / tokensPerStep,
    tokensPerSecond: rate,
    seconds: rate && (steps * tokensPerStep) / rate,
    rate: tokensPerSecond === undefined ? "estimated" : "measured",
  } as const;
  return { ...plan, toString: () => table(plan) };
}

const bytesOf = (of: unknown): number =>
  tree.tensors(of).reduce((n, { tensor }) => n + (tensor.size * dtypes[tensor.dtype].bits) / 8, 0);

function table(plan: Omit<RunPlan, "toString">): string {
  const { bytes } = plan;
  const time =
    plan.seconds === undefined || plan.tokensPerSecond === undefined
      ? "not known on this device"
      : `${duration(plan.seconds)} at ${grouped(plan.tokensPerSecond)} tokens/s, ${plan.rate}`;
  const rows: readonly (readonly [string, string])[] = [
    ["parameters", grouped(plan.parameters)],
    ["steps", `${grouped(plan.steps)} of ${grouped(plan.tokensPerStep)} tokens`],
    ["memory", mebibytes(bytes.peak)],
    ["  weights", mebibytes(bytes.weights)],
    ["  gradients", mebibytes(bytes.gradients)],
    ["  optimizer", mebibytes(bytes.optimizer)],
    ...(bytes.ema > 0 ? [["  mean of weights", mebibytes(bytes.ema)] as const] : []),
    ["  batch", mebibytes(bytes.batch)],
    ["  activations", mebibytes(bytes.activations)],
    ["operations", `${scaled(plan.flopsPerStep)}FLOP a step, ${scaled(plan.flopsPerToken)}FLOP a token`],
    ["time", time],
  ];
  return rows.map(([name, value]) => `${name.padEnd(17)}  ${value}`).join("\n");
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1).padStart(8)} MiB`;

/** Three digits and a prefix: `1.23 G`. */
function scaled(n: number): string {
  const prefixes = ["", "k", "M", "G", "T", "P"];
  const power = n < 1 ? 0 : Math.min(prefixes.length - 1, Math.floor(Math.log10(n) / 3));
  return `${(n / 1000 ** power).toPrecision(3)} ${prefixes[power]}`;
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 48 * 3600 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} days`;
}
