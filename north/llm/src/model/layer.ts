/** One layer of a LLaMA (Touvron et al. 2023, arXiv:2302.13971): attention and a gated feed-forward network, each behind a
 *  norm and added to the residual stream. All layers of a model have one shape, so the layer is a `region`: it is traced,
 *  differentiated and compiled once however many there are. */

import { add, type Key, mul, random, region, type Tensor, type TreeNode, treeNode } from "sinan";
import type { LlamaConfig } from "../config.ts";
import { attention, type AttentionWeights, type LayerCache, type Past } from "./attention.ts";
import { dropout, linear, rmsNorm, silu, type Weight } from "./functions.ts";
import type { RopeTables } from "./rope.ts";

/** The weights under Hugging Face's names, each `[out, in]`, norms `[hidden]`. */
export interface LayerWeights {
  readonly input_layernorm: Weight;
  readonly self_attn: AttentionWeights;
  readonly post_attention_layernorm: Weight;
  readonly mlp: { readonly gate_proj: Weight; readonly up_proj: Weight; readonly down_proj: Weight };
}

/** The weights of a layer and what else its computation depends on, as a tree whose key is the configuration. */
interface Layer extends TreeNode {
  readonly config: LlamaConfig;
  readonly weights: LayerWeights;
}

const layer = (config: LlamaConfig, weights: LayerWeights): Layer => ({
  config,
  weights,
  [treeNode]: {
    children: { ...weights },
    rebuild: (children) => layer(config, children as unknown as LayerWeights),
    key: configKey(config),
  },
});

/** What of a configuration changes a trace, as text. */
export const configKey = (config: LlamaConfig): string => `llama ${JSON.stringify(config)}`;

interface LayerResult {
  readonly x: Tensor;
  readonly cache: LayerCache | null;
}

const block = region(
  ({ config, weights }: Layer, x: Tensor, rope: RopeTables, past: Past | null, key: Key | null): LayerResult => {
    const [first, second] = key ? (random.split(key, 2) as [Key, Key]) : [null, null];
    const branch = (y: Tensor, k: Key | null): Tensor => (k ? dropout(y, config.dropout, k) : y);
    const { output, cache } = attention(config, weights.self_attn, rmsNorm(x, weights.input_layernorm, config.rmsNormEps), rope, past);
    const middle = add(x, branch(output, first));
    const h = rmsNorm(middle, weights.post_attention_layernorm, config.rmsNormEps);
    const { gate_proj, up_proj, down_proj } = weights.mlp;
    const fed = linear(mul(silu(linear(h, gate_proj)), linear(h, up_proj)), down_proj); // SwiGLU, Shazeer 2020, arXiv:2002.05202
    return { x: add(middle, branch(fed, second)), cache };
  },
  { name: "llamaLayer" },
);

/** @param x     `[batch, time, hidden]`
 *  @param rope  tables of the positions of x
 *  @param past  the layer's cache and those positions, where the call continues a sequence
 *  @param key   the layer's own, for dropout; null for none */
export const applyLayer = (
  config: LlamaConfig,
  weights: LayerWeights,
  x: Tensor,
  rope: RopeTables,
  past: Past | null,
  key: Key | null,
): LayerResult => block(layer(config, weights), x, rope, past, key);
