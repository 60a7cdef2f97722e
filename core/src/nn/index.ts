/** `nn`: modules, layers, activations, losses, attention. */
export { gelu, geluTanh, relu, sigmoid, silu, softplus, tanh } from "./activations.ts";
export { type AttentionOptions, rope, type RopeOptions, ropeTables, scaledDotProductAttention } from "./attention.ts";
export { type Context, contextAt, keyOf } from "./context.ts";
export {
  avgPool,
  type Conv,
  conv1d,
  conv2d,
  conv3d,
  type ConvLayerOptions,
  convTranspose1d,
  convTranspose2d,
  convTranspose3d,
  type ConvTransposeLayerOptions,
  maxPool,
} from "./convolution.ts";
export {
  type BatchNorm,
  batchNorm,
  type BatchNormOptions,
  type GroupNorm,
  groupNorm,
  withUpdates,
} from "./normalization.ts";
export * as functional from "./functional.ts";
export * as initializers from "./initializers.ts";
export type { Initializer } from "./initializers.ts";
export {
  dropout,
  type Dropout,
  embedding,
  type Embedding,
  layerNorm,
  type LayerNorm,
  linear,
  type Linear,
  rmsNorm,
  type RmsNorm,
  sequential,
  type Sequential,
} from "./layers.ts";
export { crossEntropy, type CrossEntropyOptions, mseLoss, type Reduction } from "./losses.ts";
export {
  type Built,
  type Layer,
  type Module,
  module,
  type ModuleMethods,
  type Parameter,
  parameter,
  type Parts,
} from "./module.ts";
export { observe, type Observer } from "../ir/site.ts";
export { namedParameters, parameterCount, withParameters } from "./parameters.ts";
