/** Weights between a model and safetensors: the paths of the model's tree are the names in the file. Every name, dtype and
 *  shape is compared with what the configuration asks for before a model is made. */

import {
  CheckpointError,
  type DType,
  fromBytes,
  ShapeError,
  type StoredTensor,
  type StoredTensorInfo,
  type Tensor,
  tree,
} from "sinan";
import type { LlamaConfig } from "../config.ts";
import { type Llama, llama } from "../model/llama.ts";
import { isShaped, weightShapes } from "./shapes.ts";

/** What a file may hold weights in; all become f32, or f64 where that is asked for. */
const readable: Readonly<Partial<Record<string, DType>>> = { f32: "f32", f64: "f64", f16: "f16", bf16: "bf16" };

/** Old files carry the rotary frequencies, and some a second copy of a tied embedding; neither is a weight. */
const isSpare = (config: LlamaConfig, name: string): boolean =>
  name.endsWith(".rotary_emb.inv_freq") || (config.tieWordEmbeddings && name === "lm_head.weight");

/** The model with these tensors as its weights, whatever it had before. */
export const withWeights = (model: Llama, weightOf: (name: string) => Tensor): Llama =>
  tree.mapLeaves(model, (leaf, path) => (isShaped(leaf) ? weightOf(path) : leaf)) as Llama;

/** Compares the tensors of a file, or of several together, with the configuration.
 *
 *  @param what  the file, for the errors
 *  @throws CheckpointError for a tensor that is missing, unknown or not of floats; ShapeError for one of another shape */
export function checkStored(
  config: LlamaConfig,
  stored: ReadonlyMap<string, Pick<StoredTensorInfo, "dtype" | "shape">>,
  what: string,
): void {
  const shapes = weightShapes(llama(config));
  const hint = "Is config.json the one that was saved with these weights?";
  const missing = [...shapes.keys()].filter((name) => !stored.has(name));
  if (missing.length > 0)
    throw new CheckpointError(`${what}: expected the tensor${list(missing)}, which is not there`, { hint });
  const extra = [...stored.keys()].filter((name) => !shapes.has(name) && !isSpare(config, name));
  if (extra.length > 0)
    throw new CheckpointError(`${what}: got the tensor${list(extra)}, of which the configuration knows nothing`, {
      hint,
    });
  for (const [name, shape] of shapes) {
    const { dtype, shape: got } = stored.get(name) as StoredTensorInfo;
    if (readable[dtype] === undefined)
      throw new CheckpointError(`${what}: ${name}: expected f32, f16, bf16 or f64, got ${dtype}`);
    if (String(got) !== String(shape))
      throw new ShapeError(`${what}: ${name}: expected [${shape.join(", ")}], got [${got.join(", ")}]`, { hint });
  }
}

const list = (names: readonly string[]): string =>
  `${names.length > 1 ? "s" : ""} ${names.slice(0, 3).join(", ")}${names.length > 3 ? ` and ${names.length - 3} more` : ""}`;

/** One stored tensor on the default device. */
export function fromStored({ dtype, shape, data }: StoredTensor, as: DType): Tensor {
  const kept = fromBytes(readable[dtype] as DType, shape, data);
  return kept.dtype === as ? kept : kept.cast(as);
}

/** A model with these weights, as `Checkpoint.tensors` has them.
 *
 *  @param as  the dtype to compute in: f32 or f64
 *  @throws CheckpointError, ShapeError as `checkStored` */
export function llamaFromStored(
  config: LlamaConfig,
  stored: ReadonlyMap<string, StoredTensor>,
  { as = "f32", what = "model.safetensors" }: { readonly as?: "f32" | "f64"; readonly what?: string } = {},
): Llama {
  checkStored(config, stored, what);
  return withWeights(llama(config), (name) => fromStored(stored.get(name) as StoredTensor, as));
}

/** The model's weights as safetensors holds them, read from the device. */
export async function storedWeights(model: Llama): Promise<Map<string, StoredTensor>> {
  const read = tree.tensors(model).map(async ({ path, tensor }): Promise<[string, StoredTensor]> => {
    const dtype = tensor.dtype as "f32" | "f64";
    return [path, { dtype, shape: tensor.shape, data: await tensor.bytes() }];
  });
  return new Map(await Promise.all(read));
}
