/** A run as a checkpoint holds it, and back: `model.safetensors` and `optimizer.safetensors` under the trees' paths, and
 *  `trainer.json` with the step and the facts that a resumed run must share. */
import {
  type Checkpoint,
  CheckpointError,
  fromBytes,
  type HardwareModel,
  type Json,
  type StoredTensor,
  Tensor,
  tree,
} from "sinan";
import type { TrainOptions } from "./options.ts";
import type { Running } from "./step.ts";
import type { Facts, TrainState } from "./task.ts";

/** What decides how a run goes on, beside its tensors. */
export interface Progress {
  /** Batches that are left out. */
  readonly leftOut: readonly number[];
  /** Of the last steps, where spikes are looked for. */
  readonly losses: readonly number[];
  /** The lowest loss of an evaluation. */
  readonly best: number | null;
  /** Evaluations since then. */
  readonly worse: number;
  /** Whether an evaluation was due that was cut short. */
  readonly owed?: true;
}

/** What `trainer.json` says. */
export interface TrainerRecord {
  /** Steps that are done. */
  readonly step: number;
  /** Must be the same when the run is resumed. */
  readonly facts: Facts;
  /** Of the numeric plan: where these differ, a continuation is not bit-equal. */
  readonly plan: Readonly<Record<string, Json>>;
  /** Whatever the caller wants to find again. */
  readonly options: Json;
  readonly progress: Progress;
}

/** Facts of a run with these options. */
export const factsOf = ({ facts, seed, steps, precision = "f32", ema }: TrainOptions<never>): Facts => ({
  ...facts,
  seed,
  steps,
  ...(precision === "f32" ? {} : { precision }),
  ...(ema === undefined ? {} : { ema }),
});

/** The static facts of a device that decide a sum's order and rounding, and what its kernels were tuned by, if they were. */
export const planOf = (
  { driver, codegens, features, compute }: HardwareModel,
  tuning?: string,
): Record<string, Json> => ({
  ...(tuning === undefined ? {} : { tuning }),
  driver,
  codegen: codegens[0] ?? "",
  features: [...features].sort(),
  vector: compute.filter(({ unit }) => unit === "vector").map(({ dtype, lanes }) => `${dtype}x${lanes}`),
});

/** The tensors of a tree by path, their bytes read back. */
export async function stored(of: unknown): Promise<Map<string, StoredTensor>> {
  const entries = tree.tensors(of).map(async ({ path, tensor }): Promise<[string, StoredTensor]> => {
    const { dtype, shape } = tensor;
    return [path, { dtype: dtype as StoredTensor["dtype"], shape, data: await tensor.bytes() }];
  });
  return new Map(await Promise.all(entries));
}

/** A copy of a tree, each tensor with memory of its own: what may be donated, whatever else holds the original. */
export async function copied<T>(of: T): Promise<T> {
  const copies = await stored(of);
  return tree.mapLeaves(of, (leaf, path) => {
    const copy = leaf instanceof Tensor ? copies.get(path) : undefined;
    return leaf instanceof Tensor && copy ? fromBytes(leaf.dtype, copy.shape, copy.data) : leaf;
  }) as T;
}

/** The state as groups of a checkpoint: the model by itself, so that it can be read without the rest, and its mean under the same names. */
export async function stateGroups<M, S extends TrainState<M>>({
  train,
  ema,
  scaling,
}: Running<M, S>): Promise<Record<string, Map<string, StoredTensor>>> {
  const { model, ...optimizer } = train;
  return {
    model: await stored(model),
    optimizer: await stored(optimizer),
    ...(ema === null ? {} : { ema: await stored(ema) }),
    ...(scaling === null ? {} : { scaling: await stored(scaling) }),
  };
}

/** The state of a checkpoint, in the form of `like`, which a run that starts anew would have.
 *  @throws CheckpointError naming the first tensor that is missing, unknown, or of another shape or dtype */
export function restored<M, S extends TrainState<M>>(checkpoint: Checkpoint, like: Running<M, S>): Running<M, S> {
  const { model, ...optimizer } = like.train;
  return {
    train: { ...filled(optimizer, checkpoint, "optimizer"), model: filled(model, checkpoint, "model") } as unknown as S,
    ema: like.ema === null ? null : filled(like.ema, checkpoint, "ema"),
    scaling: like.scaling === null ? null : filled(like.scaling, checkpoint, "scaling"),
  };
}

function filled<T>(like: T, { path: place, tensors }: Checkpoint, group: string): T {
  const file = `${place}/${group}.safetensors`;
  const hint = "It belongs to another model: give the directory of this one, or start a new run in another directory.";
  const found = tensors[group];
  if (!found) throw new CheckpointError(`${file}: the checkpoint has no such file`, { hint });
  const expected = new Set(tree.tensors(like).map(({ path }) => path));
  for (const name of found.keys()) {
    if (!expected.has(name)) throw new CheckpointError(`${file}: ${name} is not a part of this model`, { hint });
  }
  return tree.mapLeaves(like, (leaf, path) => {
    if (!(leaf instanceof Tensor)) return leaf;
    const tensor = found.get(path);
    if (!tensor) throw new CheckpointError(`${file}: ${path} is missing`, { hint });
    if (tensor.dtype !== leaf.dtype || String(tensor.shape) !== String(leaf.shape)) {
      const is = `${tensor.dtype}[${tensor.shape.join(", ")}]`;
      throw new CheckpointError(`${file}: ${path} is ${is}, expected ${leaf.dtype}[${leaf.shape.join(", ")}]`, {
        hint,
      });
    }
    return fromBytes(leaf.dtype, tensor.shape, tensor.data);
  }) as T;
}

/** `trainer.json` of a checkpoint.
 *  @throws CheckpointError if it is not there or not one: a checkpoint for inference, of another program */
export function readRecord({ path, documents }: Checkpoint): TrainerRecord {
  const document = documents["trainer"];
  const isRecord = (v: Json | undefined): v is { [key: string]: Json } =>
    v !== null && typeof v === "object" && !Array.isArray(v);
  if (isRecord(document)) {
    const { step, facts, plan, options, progress } = document;
    if (Number.isSafeInteger(step) && Number(step) >= 0 && isRecord(facts) && isRecord(plan) && options !== undefined) {
      return { step: Number(step), facts, plan, options, progress: progressOf(isRecord(progress) ? progress : {}) };
    }
  }
  throw new CheckpointError(`${path}: trainer.json is missing or is not that of a training run`, {
    hint: "Only a checkpoint that training wrote can be resumed.",
  });
}

/** Of a checkpoint from before there was such a thing, that of a run without incidents. */
function progressOf({ leftOut, losses, best, worse, owed }: { readonly [key: string]: Json }): Progress {
  const numbers = (list: Json | undefined): number[] =>
    Array.isArray(list) ? list.filter((n): n is number => typeof n === "number") : [];
  return {
    leftOut: numbers(leftOut),
    losses: numbers(losses),
    best: typeof best === "number" ? best : null,
    worse: typeof worse === "number" ? worse : 0,
    ...(owed === true ? { owed } : {}),
  };
}

/** Refuses to continue a run as another one.
 *  @throws CheckpointError naming the fact that differs, what the checkpoint has and what was asked for */
export function checkFacts(path: string, saved: Facts, asked: Facts): void {
  for (const name of new Set([...Object.keys(saved), ...Object.keys(asked)])) {
    const was = text(saved[name]);
    const is = text(asked[name]);
    if (was === is) continue;
    throw new CheckpointError(
      `${path}: ${name} differs: the checkpoint was made with ${short(was)}, this run has ${short(is)}`,
      {
        hint: `Resume with the same ${name}, or start a new run in another directory.`,
      },
    );
  }
}

/** What of the numeric plan differs, in words; undefined if nothing does. */
export function planChange(saved: TrainerRecord["plan"], now: TrainerRecord["plan"]): string | undefined {
  const changed = Object.keys({ ...saved, ...now }).filter((name) => text(saved[name]) !== text(now[name]));
  if (changed.length === 0) return undefined;
  const parts = changed.map((name) => `${name} ${text(saved[name])} → ${text(now[name])}`);
  return `the run continues under another numeric plan (${parts.join(", ")}): its losses will not be bit-equal`;
}

/** JSON with sorted keys, so that equal values have equal texts. */
function text(value: Json | undefined): string {
  if (value === undefined) return "nothing";
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(text).join(", ")}]`;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([k, v]) => `${k}: ${text(v)}`).join(", ")}}`;
}

const short = (s: string): string => (s.length <= 100 ? s : `${s.slice(0, 97)}...`);
