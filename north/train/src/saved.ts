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
import type { Facts, TrainState } from "./task.ts";

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
}

/** The static facts of a device that decide a sum's order and rounding. */
export const planOf = ({ driver, codegens, features, compute }: HardwareModel): Record<string, Json> => ({
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

/** The state as groups of a checkpoint: the model by itself, so that it can be read without the rest. */
export async function storedState<M>({
  model,
  ...optimizer
}: TrainState<M>): Promise<Record<string, Map<string, StoredTensor>>> {
  return { model: await stored(model), optimizer: await stored(optimizer) };
}

/** The state of a checkpoint, in the form of `like`, which a run that starts anew would have.
 *  @throws CheckpointError naming the first tensor that is missing, unknown, or of another shape or dtype */
export function restored<S extends TrainState<unknown>>(checkpoint: Checkpoint, like: S): S {
  const { model, ...optimizer } = like;
  return { ...filled(optimizer, checkpoint, "optimizer"), model: filled(model, checkpoint, "model") } as S;
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
    const { step, facts, plan, options } = document;
    if (Number.isSafeInteger(step) && Number(step) >= 0 && isRecord(facts) && isRecord(plan) && options !== undefined) {
      return { step: Number(step), facts, plan, options };
    }
  }
  throw new CheckpointError(`${path}: trainer.json is missing or is not that of a training run`, {
    hint: "Only a checkpoint that training wrote can be resumed.",
  });
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
