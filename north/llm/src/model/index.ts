/** The model. */

export type { AttentionWeights, LayerCache } from "./attention.ts";
export type { Context, Weight } from "./functions.ts";
export type { LayerWeights } from "./layer.ts";
export { type Llama, llama, type LlamaWeights, logits, loss, weightShapes } from "./llama.ts";
