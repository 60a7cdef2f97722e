/** The model. */

export type { LayerCache } from "./attention.ts";
export { type Llama, llama } from "./llama.ts";
export { loss, type LossOptions } from "./loss.ts";
export type { TokenInput } from "./positions.ts";
export type { ModelOptions } from "./projection.ts";
export { quantizeLlama } from "./quantise.ts";
export { flopsPerToken, parameterCount } from "./size.ts";
