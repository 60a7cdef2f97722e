/** A model as a directory of Hugging Face: `config.json` with `model.safetensors`, or with several files that
 *  `model.safetensors.index.json` lists. Tensors are read and written one at a time. */

import {
  ArgumentError,
  CheckpointError,
  type Files,
  FormatError,
  joinPath,
  type LazySafetensors,
  openSafetensors,
  parseJson,
  randomAccess,
  replaceFile,
  safetensorsChunks,
  storedBytes,
  type StoredTensor,
  type StoredTensorInfo,
  tensor,
  type Tensor,
} from "sinan";
import { type LlamaConfig, llamaConfigFromJson, llamaConfigToJson } from "../config.ts";
import { type Llama, llama } from "../model/llama.ts";
import { objectAt, stringAt, unexpected } from "../tokenizer/json-value.ts";
import { checkStored, fromStored, type Pending, pendingWeights, type WeightDType, withWeights } from "./stored.ts";

const single = "model.safetensors";
const index = "model.safetensors.index.json";

/** Reads a model, whole or in shards, tensor by tensor: beside the model itself no more than one tensor is in memory.
 *
 *  @param as  the dtype to compute in; weights stored in another one are converted
 *  @throws FileError for a file that is missing or cannot be read; FormatError for one that is not what it should be;
 *    CheckpointError, ShapeError for weights that are not the configuration's
 *  @example const model = await loadLlama(nodeFiles(), "checkpoints/latest"); */
export async function loadLlama(
  files: Files,
  directory: string,
  { as = "f32" }: { readonly as?: WeightDType } = {},
): Promise<Llama> {
  const config = await readConfig(files, directory);
  const parts = await openParts(files, directory);
  const home = new Map<string, LazySafetensors>();
  const infos = new Map<string, StoredTensorInfo>();
  for (const part of parts)
    for (const [name, info] of part.tensors) {
      if (home.has(name)) throw new CheckpointError(`${directory}: the tensor ${name} is in two of its files`);
      home.set(name, part);
      infos.set(name, info);
    }
  const tensors = new Map<string, Tensor>();
  try {
    for (const [name, held] of checkStored(config, infos, directory)) {
      for (const [path, weight] of fromStored(await (home.get(name) as LazySafetensors).tensor(name), held, as))
        tensors.set(path, weight);
      await caughtUp();
    }
  } catch (error) {
    for (const tensor of tensors.values()) tensor.dispose();
    throw error;
  }
  return withWeights(llama(config), (path) => tensors.get(path) as Tensor);
}

/** Work is done in order: what is read now was preceded by all that was asked for, so that no bytes wait in a queue. */
async function caughtUp(): Promise<void> {
  const mark = tensor([0]);
  await mark.data();
  mark.dispose();
}

/** How a model is cut into files, and what they hold. */
export interface SaveOptions {
  /** The most bytes of tensors in one file; one that is larger is alone in its file. Several files are listed by an index. Default:
   *  5 GB, as `transformers` has it. */
  readonly maxShardBytes?: number;
  /** What to store the weights in; what they are computed in by default. */
  readonly as?: WeightDType;
}

/** Writes a model as `transformers` reads it. Each file is replaced whole or not at all, the index after the files that it lists, so
 *  that a directory that is complete before is so at any time, unless the number of shards changes: write that to a new one.
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
  const number = (n: number): string => String(n).padStart(5, "0");
  const isSingle = shards.length === 1;
  const nameOf = (i: number): string =>
    isSingle ? single : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
  await files.mkdir(directory);
  for (const [i, shard] of shards.entries()) {
    const tensors = new Map<string, StoredTensor>();
    for (const pending of shard) tensors.set(pending.name, await pending.read());
    await replaceFile(files, joinPath(directory, nameOf(i)), safetensorsChunks(tensors, { format: "pt" }).chunks);
  }
  const total = shards.flat().reduce((sum, p) => sum + bytesOf(p), 0);
  const map = shards.flatMap((shard, i) => shard.map(({ name }) => [name, nameOf(i)] as const));
  const listed = {
    metadata: { total_size: total },
    weight_map: Object.fromEntries(map.sort(([a], [b]) => (a < b ? -1 : 1))),
  };
  if (!isSingle) await writeJson(files, joinPath(directory, index), listed);
  await writeJson(files, joinPath(directory, "config.json"), {
    ...llamaConfigToJson(model.config),
    torch_dtype: torchNames[shards[0]?.[0]?.dtype ?? "f32"],
  });
  // A file of the other kind would be read in place of these.
  await files.remove(joinPath(directory, isSingle ? index : single));
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

const writeJson = (files: Files, path: string, value: unknown): Promise<void> =>
  replaceFile(files, path, [new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`)]);
/** @throws FileError, FormatError */
export async function readConfig(files: Files, directory: string): Promise<LlamaConfig> {
  const path = joinPath(directory, "config.json");
  return llamaConfigFromJson(await readJson(files, path), path);
}

async function readJson(files: Files, path: string): Promise<unknown> {
  const bytes = await files.read(path);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new FormatError(`${path}: expected UTF-8 text`, { cause });
  }
  return parseJson(text, path);
}

async function openParts(files: Files, directory: string): Promise<LazySafetensors[]> {
  const listed = joinPath(directory, index);
  const whole = joinPath(directory, single);
  if ((await files.exists(whole)) || !(await files.exists(listed))) return [await open(files, whole)];
  const root = objectAt(await readJson(files, listed), listed);
  const map = objectAt(root["weight_map"], `${listed}: weight_map`);
  const named = Object.entries(map).map(
    ([name, file]) => [name, plainName(file, `${listed}: weight_map.${name}`)] as const,
  );
  const parts = new Map<string, LazySafetensors>();
  for (const file of new Set(named.map(([, file]) => file)))
    parts.set(file, await open(files, joinPath(directory, file)));
  for (const [name, file] of named)
    if (!parts.get(file)?.tensors.has(name))
      throw new CheckpointError(`${listed}: expected the tensor ${name} in ${file}, which does not hold it`);
  return [...parts.values()];
}

/** A file name that stays in the directory. */
function plainName(value: unknown, where: string): string {
  const name = stringAt(value, where);
  if (!/^[\w.-]{1,200}\.safetensors$/.test(name))
    throw unexpected(where, "the name of a .safetensors file beside it", name);
  return name;
}

async function open(files: Files, path: string): Promise<LazySafetensors> {
  try {
    return await openSafetensors(await randomAccess(files, path));
  } catch (error) {
    if (error instanceof FormatError) throw new FormatError(`${path}: ${error.message}`, { cause: error });
    throw error;
  }
}
