/** One layer of a decoder: attention and a feed-forward network, each added to the residual stream. A LLaMA's (Touvron et al. 2023,
 *  arXiv:2302.13971) has a norm before each; others have it behind, on both sides, or run the two beside each other. */

import { add, mul, nn, type Tensor } from "sinan";
import type { LlamaConfig } from "../config.ts";
import { attention, type LayerInput, type LayerOutput } from "./attention.ts";
import { feedForward } from "./feed-forward.ts";
import { norm } from "./norm.ts";
import type { ModelOptions } from "./projection.ts";

/** Norms have Hugging Face's names, by which `post_attention_layernorm` is the one before the feed-forward network unless there are
 *  some behind the branches. */
export const decoderLayer = (config: LlamaConfig, options: ModelOptions) => {
  const { normPlace: place, parallel } = config;
  const made = (isThere: boolean): nn.Layer | null => (isThere ? norm(config, config.hiddenSize) : null);
  return nn.module(
    "llamaLayer",
    {
      input_layernorm: made(place !== "after"),
      self_attn: attention(config, options),
      post_attention_layernorm: made(place !== "before" || parallel !== "oneNorm"),
      pre_feedforward_layernorm: made(place === "both" && parallel !== "oneNorm"),
      post_feedforward_layernorm: made(place !== "before"),
      mlp: feedForward(config, options),
      attention_dropout: nn.dropout(config.dropout),
      mlp_dropout: nn.dropout(config.dropout),
      place,
      parallel,
      residualScale: config.residualScale,
    },
    layerForward,
  );
};

interface DecoderLayer {
  readonly input_layernorm: nn.Layer | null;
  readonly self_attn: nn.Layer<LayerInput, LayerOutput>;
  readonly post_attention_layernorm: nn.Layer | null;
  readonly pre_feedforward_layernorm: nn.Layer | null;
  readonly post_feedforward_layernorm: nn.Layer | null;
  readonly mlp: nn.Layer;
  readonly attention_dropout: nn.Layer;
  readonly mlp_dropout: nn.Layer;
  readonly place: LlamaConfig["normPlace"];
  readonly parallel: LlamaConfig["parallel"];
  readonly residualScale: number;
}

const through = (layer: nn.Layer | null, x: Tensor): Tensor => (layer ? layer(x) : x);

function layerForward(self: DecoderLayer, { x, ...rest }: LayerInput, ctx: nn.Context): LayerOutput {
  const { place, parallel, residualScale } = self;
  const scaled = (y: Tensor): Tensor => (residualScale === 1 ? y : mul(y, residualScale));
  const before = through(self.input_layernorm, x);
  const attended = self.self_attn({ x: before, ...rest }, ctx);
  const mixed = place === "before" ? attended.x : through(self.post_attention_layernorm, attended.x);
  const middle = add(x, scaled(self.attention_dropout(mixed, ctx)));
  const second = place === "before" ? self.post_attention_layernorm : self.pre_feedforward_layernorm;
  const fed = self.mlp(parallel === "oneNorm" ? before : through(second, parallel === "none" ? middle : x));
  const out = through(self.post_feedforward_layernorm, fed);
  return { x: add(middle, scaled(self.mlp_dropout(out, ctx))), cache: attended.cache };
}
