/** Writes a model as a directory of Hugging Face, tensor by tensor, in place of one that may be there. A directory has one file that
 *  says which weights count, `model.safetensors` or else its index. Shards have names that no file has, so until that one is replaced
 *  nothing of the old model is touched, and from then on nothing of it is read.
 *
 *    shards, config.next.json  │  model.safetensors, or the index  │  config.json, then what is left of the old model goes
 *                   the old model is there                      the new one is */

import {
  ArgumentError,
  type Files,
  joinPath,
  replaceFile,
  safetensorsChunks,
  storedBytes,
  type StoredTensor,
} from "sinan";
import { llamaConfigToJson } from "../config.ts";
import type { Llama } from "../model/llama.ts";
import { names, nextConfig, openParts } from "./files.ts";
import { type Pending, pendingWeights, type WeightDType } from "./stored.ts";

/** How a model is cut into files, and what they hold. */
export interface SaveOptions {
  /** The most bytes of tensors in one file; one that is larger is alone in its file. Several files are listed by an index. Default:
   *  5 GB, as `transformers` has it. */
  readonly maxShardBytes?: number;
  /** What to store the weights in; what they are computed in by default. */
  readonly as?: WeightDType;
}

/** Writes a model as `transformers` reads it. A directory that holds a model holds the old one or the new one at any time, whole,
 *  whatever their shapes and numbers of shards; for that it has room for both until the end. (`transformers` itself sees, where the two
 *  have different configurations, the old one's for a moment.)
 *  @throws FileError; ArgumentError for a shard without room
 *  @example await saveLlama(nodeFiles(), "out", model, { as: "bf16", maxShardBytes: 1e9 }); */
export async function saveLlama(
  files: Files,
  directory: string,
  model: Llama,
  { maxShardBytes = 5e9, as }: SaveOptions = {},
): Promise<void> {
  if (!(maxShardBytes >= 1)) throw new ArgumentError(`maxShardBytes: expected at least 1, got ${maxShardBytes}`);
  const shards = shardsOf(pendingWeights(model, as), maxShardBytes);
  const at = (name: string): string => joinPath(directory, name);
  const config = {
    ...llamaConfigToJson(model.config),
    torch_dtype: torchNames[shards[0]?.[0]?.dtype ?? "f32"],
  };
  await files.mkdir(directory);
  await endLast(files, directory);
  const save = await announce(files, directory, config);
  const note = save === null ? {} : { save };
  const taken = new Set(await files.list(directory));
  const fileNames = shards.length === 1 ? [names.single] : freeNames(shards.length, taken);
  try {
    for (const [i, shard] of shards.entries()) {
      const tensors = new Map<string, StoredTensor>();
      for (const pending of shard) tensors.set(pending.name, await pending.read());
      const metadata = { format: "pt", ...(shards.length === 1 ? note : {}) };
      await replaceFile(files, at(fileNames[i] as string), safetensorsChunks(tensors, metadata).chunks);
    }
  } catch (error) {
    // Shards that no index lists take room that others want. The first error is the one that tells.
    if (shards.length > 1) await removed(files, directory, fileNames).catch(() => undefined);
    throw error;
  }
  if (shards.length > 1) {
    const map = shards.flatMap((shard, i) => shard.map(({ name }) => [name, fileNames[i]] as const));
    await writeJson(files, at(names.index), {
      metadata: { total_size: shards.flat().reduce((sum, p) => sum + bytesOf(p), 0), ...note },
      weight_map: Object.fromEntries(map.sort(([a], [b]) => (a < b ? -1 : 1))),
    });
    // A single file is read before an index.
    await removed(files, directory, [names.single]);
  }
  await writeJson(files, at(names.config), config);
  const kept = new Set<string>([...fileNames, shards.length > 1 ? names.index : names.single]);
  const old = (await files.list(directory)).filter((name) => isOurs(name) && !kept.has(name));
  await removed(files, directory, [names.next, ...old]);
}

/** Writes the configuration to come beside another one that is there.
 *  @returns what the weights are to be marked with; null where there is none, or the same */
async function announce(files: Files, directory: string, config: unknown): Promise<string | null> {
  const path = joinPath(directory, names.config);
  if (!(await files.exists(path)) || new TextDecoder().decode(await files.read(path)) === textOf(config)) return null;
  const save = Math.random().toString(36).slice(2);
  await writeJson(files, joinPath(directory, names.next), { save, config });
  return save;
}

/** Ends a save that was interrupted: its configuration takes its place if its weights have. */
async function endLast(files: Files, directory: string): Promise<void> {
  const next = await nextConfig(files, directory);
  if (!next) return;
  const roots = [names.single, names.index].map((name) => files.exists(joinPath(directory, name)));
  const isThere = (await Promise.all(roots)).includes(true);
  if (isThere && (await openParts(files, directory)).save === next.save)
    await writeJson(files, joinPath(directory, names.config), next.config);
  await removed(files, directory, [names.next]);
}

/** Names as `transformers` has them, with a number where one of them is taken. */
function freeNames(count: number, taken: ReadonlySet<string>): string[] {
  const number = (n: number): string => String(n).padStart(5, "0");
  for (let n = 1; ; n++) {
    const stem = n === 1 ? "model" : `model-${n}`;
    const all = Array.from({ length: count }, (_, i) => `${stem}-${number(i + 1)}-of-${number(count)}.safetensors`);
    if (all.every((name) => !taken.has(name))) return all;
  }
}

/** Shards, the index, and what a crash left of writing them. */
const isOurs = (name: string): boolean =>
  /^(config|model)[\w.-]*\.tmp-[a-z0-9]+$/.test(name) ||
  /^model(-\d+)?-\d{5}-of-\d{5}\.safetensors$/.test(name) ||
  name === names.index;

/** Removes files, durably. */
async function removed(files: Files, directory: string, gone: readonly string[]): Promise<void> {
  for (const name of gone) await files.remove(joinPath(directory, name));
  await files.fsyncDirectory(directory);
}

const torchNames: Readonly<Record<WeightDType, string>> = {
  f32: "float32",
  f64: "float64",
  f16: "float16",
  bf16: "bfloat16",
};

const bytesOf = ({ dtype, shape }: Pending): number => shape.reduce((a, b) => a * b, storedBytes(dtype));

/** One after another while they fit. */
function shardsOf(weights: readonly Pending[], most: number): Pending[][] {
  const shards: Pending[][] = [];
  let room = 0;
  for (const pending of weights) {
    const bytes = bytesOf(pending);
    const last = shards.at(-1);
    if (last && bytes <= room) last.push(pending);
    else {
      shards.push([pending]);
      room = most;
    }
    room -= bytes;
  }
  return shards;
}

const textOf = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
const writeJson = (files: Files, path: string, value: unknown): Promise<void> =>
  replaceFile(files, path, [new TextEncoder().encode(textOf(value))]);
