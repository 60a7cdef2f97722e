/** The LLaMA as a module: a function of token ids that is also the tree of its weights. The paths of that tree are the names
 *  of Hugging Face (`model.layers.0.self_attn.q_proj.weight`), so that reading and writing checkpoints is a walk. */

import { ArgumentError, type Key, random, ShapeError, take, type Tensor, tensor, type TreeNode, treeNode } from "sinan";
import type { LlamaConfig } from "../config.ts";
import type { LayerCache } from "./attention.ts";
import { type Context, crossEntropy, dropout, dropoutKey, keyAt, linear, rmsNorm, type Weight } from "./functions.ts";
import { applyLayer, configKey, type LayerWeights } from "./layer.ts";
import { type RopeTables, ropeTables } from "./rope.ts";

export interface LlamaWeights {
  readonly model: { readonly embed_tokens: Weight; readonly layers: readonly LayerWeights[]; readonly norm: Weight };
  /** Absent where the embedding serves as the output layer too. */
  readonly lm_head?: Weight;
}

/** Gives the logits `[batch, time, vocabulary]` of ids `[batch, time]`. */
export interface Llama extends TreeNode {
  (ids: Tensor, ctx?: Context): Tensor;
  readonly config: LlamaConfig;
  /** @throws ArgumentError before `init` */
  readonly weights: LlamaWeights;
  /** The model with fresh weights: normal with `initializerRange`, less by √(2 · layers) where a branch ends (Radford et al.
   *  2019, GPT-2, §2.3); norms of ones. Each weight's numbers depend on the key and its name alone. */
  init(key: Key): Llama;
}

/** A LLaMA, without weights until `init(key)` or with these.
 *
 *  @example const model = llama(llamaConfig("llama-tiny")).init(key(0)); */
export function llama(config: LlamaConfig, weights?: LlamaWeights): Llama {
  const call = (ids: Tensor, ctx: Context = {}): Tensor => logits(model, ids, ctx);
  const model: Llama = Object.defineProperties(call, {
    config: { value: config },
    weights: {
      get: () => {
        if (weights) return weights;
        throw new ArgumentError("the model has no weights yet", { hint: "make them with model.init(key(seed)), or load them" });
      },
    },
    init: { value: (key: Key) => llama(config, initial(config, key)) },
    [treeNode]: {
      value: {
        children: weights ?? {},
        rebuild: (children: unknown) => llama(config, weights && (children as LlamaWeights)),
        key: configKey(config),
      },
    },
  }) as never;
  return model;
}

/** The name and shape of every weight, in the order of computation. */
export function weightShapes(config: LlamaConfig): Map<string, readonly number[]> {
  const { vocabSize, hiddenSize, intermediateSize, numAttentionHeads, numKeyValueHeads, headDim } = config;
  const queries = numAttentionHeads * headDim;
  const keys = numKeyValueHeads * headDim;
  const shapes = new Map<string, readonly number[]>([["model.embed_tokens.weight", [vocabSize, hiddenSize]]]);
  for (let i = 0; i < config.numHiddenLayers; i++) {
    const put = (name: string, ...shape: number[]) => shapes.set(`model.layers.${i}.${name}.weight`, shape);
    put("input_layernorm", hiddenSize);
    put("self_attn.q_proj", queries, hiddenSize);
    put("self_attn.k_proj", keys, hiddenSize);
    put("self_attn.v_proj", keys, hiddenSize);
    put("self_attn.o_proj", hiddenSize, queries);
    put("post_attention_layernorm", hiddenSize);
    put("mlp.gate_proj", intermediateSize, hiddenSize);
    put("mlp.up_proj", intermediateSize, hiddenSize);
    put("mlp.down_proj", hiddenSize, intermediateSize);
  }
  shapes.set("model.norm.weight", [hiddenSize]);
  if (!config.tieWordEmbeddings) shapes.set("lm_head.weight", [vocabSize, hiddenSize]);
  return shapes;
}

/** The tree of weights, each made from its name and shape. */
export function weightsFrom(config: LlamaConfig, make: (name: string, shape: readonly number[]) => Tensor): LlamaWeights {
  const shapes = weightShapes(config);
  const at = (path: string): Weight => {
    const name = `${path}.weight`;
    return { weight: make(name, shapes.get(name) as readonly number[]) };
  };
  const layers = Array.from({ length: config.numHiddenLayers }, (_, i): LayerWeights => {
    const part = (name: string) => at(`model.layers.${i}.${name}`);
    return {
      input_layernorm: part("input_layernorm"),
      self_attn: {
        q_proj: part("self_attn.q_proj"),
        k_proj: part("self_attn.k_proj"),
        v_proj: part("self_attn.v_proj"),
        o_proj: part("self_attn.o_proj"),
      },
      post_attention_layernorm: part("post_attention_layernorm"),
      mlp: { gate_proj: part("mlp.gate_proj"), up_proj: part("mlp.up_proj"), down_proj: part("mlp.down_proj") },
    };
  });
  const model = { embed_tokens: at("model.embed_tokens"), layers, norm: at("model.norm") };
  return config.tieWordEmbeddings ? { model } : { model, lm_head: at("lm_head") };
}

function initial(config: LlamaConfig, key: Key): LlamaWeights {
  const { initializerRange: std, numHiddenLayers } = config;
  return weightsFrom(config, (name, shape) => {
    // Not `ones`, of which equal ones would share memory, so that no step could take it over.
    if (name.endsWith("norm.weight")) return tensor(new Float32Array(shape[0] as number).fill(1));
    const endsBranch = name.endsWith("o_proj.weight") || name.endsWith("down_proj.weight");
    return random.normal(keyAt(key, name), shape, { std: endsBranch ? std / Math.sqrt(2 * numHiddenLayers) : std });
  });
}

/** Logits `[batch, time, vocabulary]` of ids i32 `[batch, time]`.
 *  @throws ShapeError for ids of other rank, or longer than the model's positions */
export function logits(model: Llama, ids: Tensor, ctx: Context = {}): Tensor {
  return head(model, trunk(model, ids, ctx).x);
}

/** The mean cross entropy, in nats, of `targets` i32 `[batch, time]` after `inputs` of that shape.
 *  @example loss(model, ids.at(slice(), slice(0, -1)), ids.at(slice(), slice(1))) */
export const loss = (model: Llama, inputs: Tensor, targets: Tensor, ctx: Context = {}): Tensor => {
  if (String(inputs.dims) !== String(targets.dims))
    throw new ShapeError(`loss: expected targets of the inputs' shape [${String(inputs.dims)}], got [${String(targets.dims)}]`);
  return crossEntropy(logits(model, inputs, ctx), targets);
};

/** Where a call continues a sequence: one cache a layer, the call's positions i32 `[time]` and their tables. */
export interface Continuation {
  readonly positions: Tensor;
  readonly rope: RopeTables;
  readonly caches: readonly LayerCache[];
}

/** The output `[batch, time, hidden]` of the last norm, and the caches with this call's keys and values. */
export function trunk(
  { config, weights }: Llama,
  ids: Tensor,
  ctx: Context = {},
  past?: Continuation,
): { x: Tensor; caches: readonly LayerCache[] } {
  const { embed_tokens, layers, norm } = weights.model;
  if (ids.rank !== 2 || !["i32", "u32"].includes(ids.dtype))
    throw new ShapeError(`llama: expected ids i32[batch, time], got ${ids.dtype}[${String(ids.dims)}]`);
  const time = ids.shape[1] as number;
  if (time > config.maxPositionEmbeddings)
    throw new ShapeError(`llama: ${time} tokens are longer than the model's ${config.maxPositionEmbeddings} positions`);
  const key = dropoutKey(config.dropout, ctx);
  const rope = past?.rope ?? ropeTables(config, time, embed_tokens.weight.dtype);
  const caches: LayerCache[] = [];
  let x = take(embed_tokens.weight, ids);
  if (key) x = dropout(x, config.dropout, keyAt(key, "model.embed_tokens"));
  layers.forEach((layer, i) => {
    const before = past && { positions: past.positions, cache: past.caches[i] as LayerCache };
    const after = applyLayer(config, layer, x, rope, before ?? null, key && keyAt(key, `model.layers.${i}`));
    x = after.x;
    if (after.cache) caches.push(after.cache);
  });
  return { x: rmsNorm(x, norm, config.rmsNormEps), caches };
}

/** Logits of the trunk's output. */
export const head = ({ weights }: Llama, x: Tensor): Tensor => linear(x, weights.lm_head ?? weights.model.embed_tokens);
