/** A model as a directory of Hugging Face: `config.json` with `model.safetensors`, or with several files that
 *  `model.safetensors.index.json` lists. Tensors are read one at a time; `save.ts` writes such a directory. */

import {
  CheckpointError,
  type Files,
  FormatError,
  joinPath,
  type LazySafetensors,
  openSafetensors,
  parseJson,
  randomAccess,
  type StoredTensorInfo,
  tensor,
  type Tensor,
} from "sinan";
import { type LlamaConfig, llamaConfigFromJson } from "../config.ts";
import { type Llama, llama } from "../model/llama.ts";
import { objectAt, stringAt, unexpected } from "../tokenizer/json-value.ts";
import { checkStored, fromStored, type WeightDType, withWeights } from "./stored.ts";

export const names = {
  single: "model.safetensors",
  index: "model.safetensors.index.json",
  config: "config.json",
  /** The configuration of weights that are about to take the place of others. */
  next: "config.next.json",
} as const;

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
  const { parts, save } = await openParts(files, directory);
  const config = await readConfig(files, directory, save);
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

/** @param save  that of the weights */
async function readConfig(files: Files, directory: string, save: string | null): Promise<LlamaConfig> {
  const next = await nextConfig(files, directory);
  const path = joinPath(directory, next && next.save === save ? names.next : names.config);
  return llamaConfigFromJson(next && next.save === save ? next.config : await readJson(files, path), path);
}

/** What a save that did not end has left: it counts if the weights are there that it was written for. */
export async function nextConfig(
  files: Files,
  directory: string,
): Promise<{ readonly save: string; readonly config: unknown } | null> {
  const path = joinPath(directory, names.next);
  if (!(await files.exists(path))) return null;
  const { save, config } = objectAt(await readJson(files, path), path);
  return { save: stringAt(save, `${path}: save`), config };
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

/** The files of a model's weights, and the save that wrote them where it replaced another configuration. */
export async function openParts(
  files: Files,
  directory: string,
): Promise<{ readonly parts: readonly LazySafetensors[]; readonly save: string | null }> {
  const listed = joinPath(directory, names.index);
  const whole = joinPath(directory, names.single);
  if ((await files.exists(whole)) || !(await files.exists(listed))) {
    const part = await open(files, whole);
    return { parts: [part], save: part.metadata["save"] ?? null };
  }
  const root = objectAt(await readJson(files, listed), listed);
  const map = objectAt(root["weight_map"], `${listed}: weight_map`);
  const save = objectAt(root["metadata"] ?? {}, `${listed}: metadata`)["save"] ?? null;
  const named = Object.entries(map).map(
    ([name, file]) => [name, plainName(file, `${listed}: weight_map.${name}`)] as const,
  );
  const parts = new Map<string, LazySafetensors>();
  for (const file of new Set(named.map(([, file]) => file)))
    parts.set(file, await open(files, joinPath(directory, file)));
  for (const [name, file] of named)
    if (!parts.get(file)?.tensors.has(name))
      throw new CheckpointError(`${listed}: expected the tensor ${name} in ${file}, which does not hold it`);
  return { parts: [...parts.values()], save: save === null ? null : stringAt(save, `${listed}: metadata.save`) };
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
