/** The model. */

export type { LayerCache } from "./attention.ts";
export { type Llama, llama, loss } from "./llama.ts";
