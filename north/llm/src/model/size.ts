/** How large a model is, and what a token costs, from the shapes of its weights: nothing is drawn or allocated. */

import type { LlamaConfig } from "../config.ts";
import { weightShapes } from "../weights/shapes.ts";
import { llama } from "./llama.ts";

/** The number of weights, a tied embedding counted once.
 *  @example parameterCount(llamaConfig("llama-7b")) // → 6738415616 */
export function parameterCount(config: LlamaConfig): number {
  let [whole, layer] = [0, 0];
  // All layers have one shape.
  for (const [name, shape] of weightShapes(llama({ ...config, numHiddenLayers: 1 }))) {
    const count = shape.reduce((a, b) => a * b, 1);
    if (name.startsWith("model.layers.")) layer += count;
    else whole += count;
  }
  return whole + config.numHiddenLayers * layer;
}

/** Floating point operations of the products a token goes through, a multiplication and an addition being two: forward
 *  2 N + 4 · layers · heads · headDim · T, where N are the weights of matrices (an embedding is looked up, so it counts as output layer
 *  only), and with the backward pass three times that, which is 6 N + 12 L H Q T.
 *
 *  @param length  T, the length of the sequence; scores are counted as if each token saw all of it
 *  @see Chowdhery et al. 2022, arXiv:2204.02311, appendix B
 *  @example flopsPerToken(llamaConfig("llama-tiny"), 256, { train: true }) */
export function flopsPerToken(
  config: LlamaConfig,
  length: number,
  { train = false }: { readonly train?: boolean } = {},
): number {
  const { numHiddenLayers: layers, numAttentionHeads: heads, headDim } = config;
  const whole = config.vocabSize * config.hiddenSize;
  let layer = 0;
  for (const [name, shape] of weightShapes(llama({ ...config, numHiddenLayers: 1 })))
    if (name.startsWith("model.layers.") && shape.length === 2) layer += shape.reduce((a, b) => a * b, 1);
  const forward = 2 * (whole + layers * layer) + 4 * layers * heads * headDim * length;
  return train ? 3 * forward : forward;
}
