/** The shape of a decoder that is small enough to be trained and called many times in a test, and has every part: two layers, groups of
 *  heads. */
export const tinyShape = {
  hiddenSize: 16,
  intermediateSize: 24,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
  headDim: 4,
} as const;
