/** `data`: batches of tokens. */
export { permute } from "./permutation.ts";
export {
  type Batch,
  type BatchOptions,
  ignoreIndex,
  type OrderedBatch,
  orderedBatches,
  splitTokens,
  type TokenBatches,
  tokenBatches,
  type TokenIds,
} from "./tokens.ts";
