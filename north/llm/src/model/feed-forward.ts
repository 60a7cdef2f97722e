/** The feed-forward network of a layer: an activation between two projections, or multiplied with a third. */

import { mul, nn, square, type Tensor } from "sinan";
import type { Activation, LlamaConfig } from "../config.ts";
import { type ModelOptions, projection } from "./projection.ts";

export const feedForward = (config: LlamaConfig, options: ModelOptions) => {
  const { hiddenSize, intermediateSize, initializerRange: std, numHiddenLayers, mlpBias: bias } = config;
  return nn.module(
    "feedForward",
    {
      gate_proj: config.gated ? projection(hiddenSize, intermediateSize, { ...options, std, bias }) : null,
      up_proj: projection(hiddenSize, intermediateSize, { ...options, std, bias }),
      down_proj: projection(intermediateSize, hiddenSize, {
        ...options,
        std: std / Math.sqrt(2 * numHiddenLayers),
        bias,
      }),
      activation: config.activation,
    },
    feed,
  );
};

const functions: Readonly<Record<Activation, (x: Tensor) => Tensor>> = {
  silu: nn.silu,
  gelu: nn.gelu,
  geluTanh: nn.geluTanh,
  relu: nn.relu,
  relu2: (x) => square(nn.relu(x)),
};

interface FeedForward {
  readonly gate_proj: nn.Layer | null;
  readonly up_proj: nn.Layer;
  readonly down_proj: nn.Layer;
  readonly activation: Activation;
}

/** With a gate: Shazeer 2020, arXiv:2002.05202, eq. 6. */
function feed({ gate_proj, up_proj, down_proj, activation }: FeedForward, x: Tensor): Tensor {
  const active = functions[activation];
  return down_proj(gate_proj ? mul(active(gate_proj(x)), up_proj(x)) : active(up_proj(x)));
}
