/** Models by name: small ones to train from nothing, and the shapes of published ones, whose parameter counts are the tests'. */

import type { LlamaConfig } from "../config.ts";
import type { RopeScaling } from "./rope.ts";

type Shape = Pick<
  LlamaConfig,
  "vocabSize" | "hiddenSize" | "numHiddenLayers" | "numAttentionHeads" | "maxPositionEmbeddings"
> &
  Partial<LlamaConfig>;

/** A LLaMA. Without a width of its own the feed-forward network has the one that makes SwiGLU cost what a plain network of four
 *  times the width does, in whole 32s. */
function preset(shape: Shape): LlamaConfig {
  return {
    modelType: "llama",
    intermediateSize: Math.floor((Math.floor((8 * shape.hiddenSize) / 3) + 31) / 32) * 32,
    numKeyValueHeads: shape.numAttentionHeads,
    headDim: shape.hiddenSize / shape.numAttentionHeads,
    tieWordEmbeddings: false,
    initializerRange: 0.02,
    bosTokenId: null,
    eosTokenIds: [],
    dropout: 0,
    attentionDropout: 0,
    ropeTheta: 10000,
    rotaryShare: 1,
    ropeScaling: null,
    ...plain,
    ...shape,
  };
}

/** What sets families apart, as LLaMA has it. */
export const plain = {
  norm: "rms",
  normEpsilon: 1e-5,
  normBias: false,
  normFromOne: false,
  normPlace: "before",
  parallel: "none",
  position: "rotary",
  layersWithoutRope: [],
  slidingWindow: null,
  layersWithoutWindow: [],
  activation: "silu",
  gated: true,
  qkvBias: false,
  outputBias: false,
  mlpBias: false,
  headBias: false,
  qkNorm: "none",
  attentionScale: null,
  attentionSoftcap: null,
  embeddingNorm: false,
  embeddingScale: 1,
  residualScale: 1,
  logitScale: 1,
  logitSoftcap: null,
} as const satisfies Partial<LlamaConfig>;

/** What GPT-2 and its descendants have in common. */
const transformer = {
  norm: "layer",
  normBias: true,
  activation: "geluTanh",
  gated: false,
  qkvBias: true,
  outputBias: true,
  mlpBias: true,
  tieWordEmbeddings: true,
} as const satisfies Partial<LlamaConfig>;

/** Width, layers, heads, heads of keys, width of the feed-forward network. */
type Size = readonly [number, number, number, number, number];
const sized = ([hiddenSize, numHiddenLayers, numAttentionHeads, numKeyValueHeads, intermediateSize]: Size) => ({
  hiddenSize,
  numHiddenLayers,
  numAttentionHeads,
  numKeyValueHeads,
  intermediateSize,
});

/** Touvron et al. 2023, arXiv:2302.13971, table 2. */
const llama1 = (...size: Size): LlamaConfig =>
  preset({
    ...sized(size),
    vocabSize: 32000,
    maxPositionEmbeddings: 2048,
    normEpsilon: 1e-6,
    bosTokenId: 1,
    eosTokenIds: [2],
  });

/** Touvron et al. 2023, arXiv:2307.09288, table 1. */
const llama2 = (...size: Size): LlamaConfig =>
  preset({ ...sized(size), vocabSize: 32000, maxPositionEmbeddings: 4096, bosTokenId: 1, eosTokenIds: [2] });

/** Grattafiori et al. 2024, arXiv:2407.21783, table 3. */
const llama3 = (size: Size, changes: Partial<LlamaConfig> = {}): LlamaConfig =>
  preset({
    ...sized(size),
    vocabSize: 128256,
    maxPositionEmbeddings: 8192,
    ropeTheta: 500000,
    bosTokenId: 128000,
    eosTokenIds: [128001],
    ...changes,
  });

const longer = (factor: number): Partial<LlamaConfig> => ({
  maxPositionEmbeddings: 131072,
  ropeScaling: {
    kind: "llama3",
    factor,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalPositions: 8192,
  } satisfies RopeScaling,
});

/** Allal et al. 2025, arXiv:2502.02737; the initializer's range is 1/√width but for the largest. */
const smol = (size: Size, changes: Partial<LlamaConfig> = {}): LlamaConfig =>
  preset({
    ...sized(size),
    vocabSize: 49152,
    maxPositionEmbeddings: 8192,
    tieWordEmbeddings: true,
    ropeTheta: 100000,
    bosTokenId: 0,
    eosTokenIds: [0],
    ...changes,
  });

/** Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", table 2, with the dropout of its files. */
const gpt2 = (hiddenSize: number, numHiddenLayers: number, numAttentionHeads: number): LlamaConfig =>
  preset({
    ...transformer,
    modelType: "gpt2",
    hiddenSize,
    numHiddenLayers,
    numAttentionHeads,
    intermediateSize: 4 * hiddenSize,
    vocabSize: 50257,
    maxPositionEmbeddings: 1024,
    position: "learned",
    dropout: 0.1,
    attentionDropout: 0.1,
    bosTokenId: 50256,
    eosTokenIds: [50256],
  });

/** BigScience Workshop 2022, arXiv:2211.05100, table 5. */
const bloom = (hiddenSize: number, numHiddenLayers: number, numAttentionHeads: number): LlamaConfig =>
  preset({
    ...transformer,
    modelType: "bloom",
    hiddenSize,
    numHiddenLayers,
    numAttentionHeads,
    intermediateSize: 4 * hiddenSize,
    vocabSize: 250880,
    maxPositionEmbeddings: 2048,
    position: "alibi",
    embeddingNorm: true,
    bosTokenId: 1,
    eosTokenIds: [2],
  });

/** Gemma Team 2024, arXiv:2408.00118, table 1. */
const gemma2 = (size: Size, headDim: number, scalar: number): LlamaConfig =>
  preset({
    ...sized(size),
    modelType: "gemma2",
    headDim,
    vocabSize: 256000,
    maxPositionEmbeddings: 8192,
    tieWordEmbeddings: true,
    activation: "geluTanh",
    normEpsilon: 1e-6,
    normFromOne: true,
    normPlace: "both",
    slidingWindow: 4096,
    layersWithoutWindow: Array.from({ length: size[1] / 2 }, (_, i) => 2 * i + 1),
    embeddingScale: Math.sqrt(size[0]),
    attentionScale: scalar ** -0.5,
    attentionSoftcap: 50,
    logitSoftcap: 30,
    bosTokenId: 2,
    eosTokenIds: [1],
  });

const [small3, large3]: readonly [Size, Size] = [
  [4096, 32, 32, 8, 14336],
  [8192, 80, 64, 8, 28672],
];

export const presets = {
  // It sees few tokens, so its weights begin near 1/√hidden: from GPT-2's 0.02 a run of minutes ends a tenth of a bit higher.
  "llama-tiny": preset({
    vocabSize: 1024,
    hiddenSize: 96,
    numHiddenLayers: 2,
    numAttentionHeads: 4,
    maxPositionEmbeddings: 256,
    initializerRange: 0.06,
  }),
  "llama-bench": preset({
    vocabSize: 4096,
    hiddenSize: 256,
    numHiddenLayers: 6,
    numAttentionHeads: 8,
    maxPositionEmbeddings: 256,
  }),
  "llama-7b": llama1(4096, 32, 32, 32, 11008),
  "llama-13b": llama1(5120, 40, 40, 40, 13824),
  "llama-33b": llama1(6656, 60, 52, 52, 17920),
  "llama-65b": llama1(8192, 80, 64, 64, 22016),
  "llama-2-7b": llama2(4096, 32, 32, 32, 11008),
  "llama-2-13b": llama2(5120, 40, 40, 40, 13824),
  "llama-2-70b": llama2(8192, 80, 64, 8, 28672),
  "llama-3-8b": llama3(small3),
  "llama-3-70b": llama3(large3),
  "llama-3.1-8b": llama3(small3, longer(8)),
  "llama-3.1-70b": llama3(large3, longer(8)),
  "llama-3.1-405b": llama3([16384, 126, 128, 8, 53248], longer(8)),
  "llama-3.2-1b": llama3([2048, 16, 32, 8, 8192], { ...longer(32), tieWordEmbeddings: true }),
  "llama-3.2-3b": llama3([3072, 28, 24, 8, 8192], { ...longer(32), tieWordEmbeddings: true }),
  "tinyllama-1.1b": preset({
    ...sized([2048, 22, 32, 4, 5632]),
    vocabSize: 32000,
    maxPositionEmbeddings: 2048,
    bosTokenId: 1,
    eosTokenIds: [2],
  }),
  "smollm2-135m": smol([576, 30, 9, 3, 1536], { initializerRange: 1 / 24 }),
  "smollm2-360m": smol([960, 32, 15, 5, 2560]),
  "smollm2-1.7b": smol([2048, 24, 32, 32, 8192], { ropeTheta: 130000 }),
  gpt2: gpt2(768, 12, 12),
  "gpt2-medium": gpt2(1024, 24, 16),
  "gpt2-large": gpt2(1280, 36, 20),
  "gpt2-xl": gpt2(1600, 48, 25),
  "bloom-560m": bloom(1024, 24, 16),
  "bloom-1b1": bloom(1536, 24, 16),
  "bloom-1b7": bloom(2048, 24, 16),
  "bloom-3b": bloom(2560, 30, 32),
  "bloom-7b1": bloom(4096, 30, 32),
  bloom: bloom(14336, 70, 112),
  "gemma-2-2b": gemma2([2304, 26, 8, 4, 9216], 256, 256),
  "gemma-2-9b": gemma2([3584, 42, 16, 8, 14336], 256, 256),
  "gemma-2-27b": gemma2([4608, 46, 32, 16, 36864], 128, 144),
} as const satisfies Readonly<Record<string, LlamaConfig>>;
