/** A model as a directory of Hugging Face: `config.json` with `model.safetensors`, or with several files that
 *  `model.safetensors.index.json` lists. Tensors are read one at a time. */

import {
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
  type StoredTensorInfo,
  type Tensor,
} from "sinan";
import { type LlamaConfig, llamaConfigFromJson, llamaConfigToJson } from "../config.ts";
import { type Llama, llama } from "../model/llama.ts";
import { objectAt, stringAt, unexpected } from "../tokenizer/json-value.ts";
import { weightShapes } from "./shapes.ts";
import { checkStored, fromStored, storedWeights, withWeights } from "./stored.ts";

const single = "model.safetensors";
const index = "model.safetensors.index.json";

/** Reads a model.
 *
 *  @param as  the dtype to compute in; weights stored in 16 bits are widened
 *  @throws FileError for a file that is missing or cannot be read; FormatError for one that is not what it should be;
 *    CheckpointError, ShapeError for weights that are not the configuration's
 *  @example const model = await loadLlama(nodeFiles(), "checkpoints/latest"); */
export async function loadLlama(
  files: Files,
  directory: string,
  { as = "f32" }: { readonly as?: "f32" | "f64" } = {},
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
  checkStored(config, infos, directory);
  const tensors = new Map<string, Tensor>();
  const model = llama(config);
  for (const name of weightShapes(model).keys())
    tensors.set(name, fromStored(await (home.get(name) as LazySafetensors).tensor(name), as));
  return withWeights(model, (name) => tensors.get(name) as Tensor);
}

/** Writes `config.json` and `model.safetensors` as `transformers` reads them; each file is replaced whole or not at all.
 *  @throws FileError */
export async function saveLlama(files: Files, directory: string, model: Llama): Promise<void> {
  const { chunks } = safetensorsChunks(await storedWeights(model), { format: "pt" });
  await files.mkdir(directory);
  await replaceFile(files, joinPath(directory, single), chunks);
  const config = `${JSON.stringify(llamaConfigToJson(model.config), null, 2)}\n`;
  await replaceFile(files, joinPath(directory, "config.json"), [new TextEncoder().encode(config)]);
}

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
