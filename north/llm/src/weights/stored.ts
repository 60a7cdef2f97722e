/** Weights between a model and safetensors: every name, dtype and shape is compared with what the configuration asks for before a
 *  model is made, and each tensor is converted by itself. */

import {
  CheckpointError,
  type DType,
  fromBytes,
  jit,
  ShapeError,
  type StoredTensor,
  type StoredTensorInfo,
  type Tensor,
  tree,
} from "sinan";
import type { LlamaConfig } from "../config.ts";
import { type Llama, llama } from "../model/llama.ts";
import { type Held, heldOf } from "./layout.ts";
import { isShaped } from "./shapes.ts";

/** What weights may be stored in, and computed with. */
export type WeightDType = "f32" | "f64" | "f16" | "bf16";

const readable: Readonly<Partial<Record<string, WeightDType>>> = { f32: "f32", f64: "f64", f16: "f16", bf16: "bf16" };

/** Old files carry the rotary frequencies and masks, and some a second copy of a tied embedding; none is a weight. */
const isSpare = (config: LlamaConfig, name: string): boolean =>
  name.endsWith(".rotary_emb.inv_freq") ||
  (config.modelType === "gpt2" && /\.attn\.(bias|masked_bias)$/.test(name)) ||
  (config.modelType === "gpt_neox" && /\.attention\.(bias|masked_bias)$/.test(name)) ||
  (config.tieWordEmbeddings && (name === "lm_head.weight" || name === "embed_out.weight"));

/** The model with these tensors as its weights, whatever it had before. */
export const withWeights = (model: Llama, weightOf: (name: string) => Tensor): Llama =>
  tree.mapLeaves(model, (leaf, path) => (isShaped(leaf) ? weightOf(path) : leaf)) as Llama;

/** Compares the tensors of a file, or of several together, with the configuration.
 *
 *  @param what  the file, for the errors
 *  @returns what they hold, by their names
 *  @throws CheckpointError for a tensor that is missing, unknown or not of floats; ShapeError for one of another shape */
export function checkStored(
  config: LlamaConfig,
  stored: ReadonlyMap<string, Pick<StoredTensorInfo, "dtype" | "shape">>,
  what: string,
): ReadonlyMap<string, Held> {
  const usual = heldOf(config);
  const bare = heldOf(config, true);
  const isBare = !stored.has(first(usual)) && stored.has(first(bare));
  const wanted = isBare ? bare : usual;
  const hint = "Is config.json the one that was saved with these weights?";
  const missing = [...wanted.keys()].filter((name) => !stored.has(name));
  if (missing.length > 0)
    throw new CheckpointError(`${what}: expected the tensor${list(missing)}, which is not there`, { hint });
  const extra = [...stored.keys()].filter((name) => !wanted.has(name) && !isSpare(config, name));
  if (extra.length > 0)
    throw new CheckpointError(`${what}: got the tensor${list(extra)}, of which the configuration knows nothing`, {
      hint,
    });
  for (const [name, { shape }] of wanted) {
    const { dtype, shape: got } = stored.get(name) as StoredTensorInfo;
    if (readable[dtype] === undefined)
      throw new CheckpointError(`${what}: ${name}: expected f32, f16, bf16 or f64, got ${dtype}`);
    if (String(got) !== String(shape))
      throw new ShapeError(`${what}: ${name}: expected [${shape.join(", ")}], got [${got.join(", ")}]`, { hint });
  }
  return wanted;
}

const first = (names: ReadonlyMap<string, unknown>): string => [...names.keys()][0] as string;

const list = (names: readonly string[]): string =>
  `${names.length > 1 ? "s" : ""} ${names.slice(0, 3).join(", ")}${names.length > 3 ? ` and ${names.length - 3} more` : ""}`;

/** Casts and cuts at once, so that what was stored can go. */
const converted = new Map<string, (whole: Tensor) => readonly Tensor[]>();

/** The weights that one stored tensor holds, on the default device. */
export function fromStored(
  { dtype, shape, data }: StoredTensor,
  held: Held,
  as: WeightDType,
): readonly (readonly [path: string, weight: Tensor])[] {
  const kept = fromBytes(readable[dtype] as DType, shape, data);
  let parts: readonly Tensor[] = [kept];
  if (held.isApart || kept.dtype !== as) {
    const key = `${held.kind} ${String(shape)} ${dtype} ${as}`;
    const convert = converted.get(key) ?? jit((x: Tensor) => held.split(x).map((part) => part.cast(as)));
    converted.set(key, convert);
    parts = convert(kept);
    kept.dispose();
  }
  return held.paths.map((path, i) => [path, parts[i] as Tensor] as const);
}

/** A model with these weights, as `Checkpoint.tensors` has them.
 *
 *  @param as  the dtype to compute in
 *  @throws CheckpointError, ShapeError as `checkStored` */
export function llamaFromStored(
  config: LlamaConfig,
  stored: ReadonlyMap<string, StoredTensor>,
  { as = "f32", what = "model.safetensors" }: { readonly as?: WeightDType; readonly what?: string } = {},
): Llama {
  const held = checkStored(config, stored, what);
  const weights = new Map([...held].flatMap(([name, h]) => fromStored(stored.get(name) as StoredTensor, h, as)));
  return withWeights(llama(config), (path) => weights.get(path) as Tensor);
}

/** A tensor as a file holds it, read from the device when it is asked for. */
export interface Pending {
  readonly name: string;
  readonly dtype: WeightDType;
  readonly shape: readonly number[];
  readonly read: () => Promise<StoredTensor>;
}

/** What the files of a model hold, nothing of it read yet.
 *  @param as  the dtype to store; that of the weights by default */
export function pendingWeights(model: Llama, as?: WeightDType): Pending[] {
  const tensors = new Map(tree.tensors(model).map(({ path, tensor }) => [path, tensor]));
  return [...heldOf(model.config)].map(([name, held]) => {
    const parts = held.paths.map((path) => tensors.get(path) as Tensor);
    const dtype = as ?? (parts[0]?.dtype as WeightDType);
    const read = async (): Promise<StoredTensor> => {
      const whole = held.join(parts);
      const data = await (whole.dtype === dtype ? whole : whole.cast(dtype)).bytes();
      return { dtype, shape: held.shape, data };
    };
    return { name, dtype, shape: held.shape, read };
  });
}

/** The model's weights as safetensors holds them, read from the device.
 *  @param as  the dtype to store; that of the weights by default */
export async function storedWeights(model: Llama, as?: WeightDType): Promise<Map<string, StoredTensor>> {
  const read = pendingWeights(model, as).map(async (p): Promise<[string, StoredTensor]> => [p.name, await p.read()]);
  return new Map(await Promise.all(read));
}
