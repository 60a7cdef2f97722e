/** One layer of a LLaMA (Touvron et al. 2023, arXiv:2302.13971): attention and a gated feed-forward network, each behind a
 *  norm and added to the residual stream. */

import { add, mul, nn, type Tensor } from "sinan";
import type { LlamaConfig } from "../config.ts";
import { attention, type LayerInput, type LayerOutput } from "./attention.ts";
import { plainLinear } from "./projection.ts";

export const decoderLayer = (config: LlamaConfig) =>
  nn.module(
    "llamaLayer",
    {
      input_layernorm: nn.rmsNorm(config.hiddenSize, { epsilon: config.rmsNormEps }),
      self_attn: attention(config),
      post_attention_layernorm: nn.rmsNorm(config.hiddenSize, { epsilon: config.rmsNormEps }),
      mlp: feedForward(config),
      attention_dropout: nn.dropout(config.dropout),
      mlp_dropout: nn.dropout(config.dropout),
    },
    layerForward,
  );

interface DecoderLayer {
  readonly input_layernorm: nn.Layer;
  readonly self_attn: nn.Layer<LayerInput, LayerOutput>;
  readonly post_attention_layernorm: nn.Layer;
  readonly mlp: nn.Layer;
  readonly attention_dropout: nn.Layer;
  readonly mlp_dropout: nn.Layer;
}

function layerForward(self: DecoderLayer, { x, rope, past }: LayerInput, ctx: nn.Context): LayerOutput {
  const attended = self.self_attn({ x: self.input_layernorm(x), rope, past });
  const middle = add(x, self.attention_dropout(attended.x, ctx));
  const fed = self.mlp(self.post_attention_layernorm(middle));
  return { x: add(middle, self.mlp_dropout(fed, ctx)), cache: attended.cache };
}

const feedForward = ({ hiddenSize, intermediateSize, initializerRange, numHiddenLayers }: LlamaConfig) =>
  nn.module(
    "feedForward",
    {
      gate_proj: plainLinear(hiddenSize, intermediateSize, initializerRange),
      up_proj: plainLinear(hiddenSize, intermediateSize, initializerRange),
      down_proj: plainLinear(intermediateSize, hiddenSize, initializerRange / Math.sqrt(2 * numHiddenLayers)),
    },
    swiGlu,
  );

/** Shazeer 2020, arXiv:2002.05202, eq. 6. */
const swiGlu = (
  self: { readonly gate_proj: nn.Layer; readonly up_proj: nn.Layer; readonly down_proj: nn.Layer },
  x: Tensor,
): Tensor => self.down_proj(mul(nn.silu(self.gate_proj(x)), self.up_proj(x)));
