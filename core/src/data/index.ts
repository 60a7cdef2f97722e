/** `data`: batches of tokens. */
export {
  fillPacked,
  packDocuments,
  type PackedBatch,
  packedBatches,
  type PackedBatches,
  type PackedOrder,
  packedOrder,
  type Packing,
  type Piece,
} from "./packing.ts";
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
  tokenWindows,
  type TokenWindows,
} from "./tokens.ts";
