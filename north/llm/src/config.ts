/** What a language model is, in numbers: read from the `config.json` of Hugging Face, which may come from anywhere and is
 *  checked field by field, and written so that `transformers` (4 and 5) loads it. */

import { ArgumentError, FormatError } from "sinan";
import { families, type ModelType } from "./config/families.ts";
import { fieldsOf } from "./config/fields.ts";
import { presets } from "./config/presets.ts";
import type { Rope } from "./config/rope.ts";
import { parameterCount } from "./model/size.ts";
import { shown, unexpected } from "./tokenizer/json-value.ts";

/** `geluTanh` is Hugging Face's `gelu_new` and `gelu_pytorch_tanh`; `relu2` the square of a ReLU. */
export type Activation = "silu" | "gelu" | "geluTanh" | "relu" | "relu2";

/** A decoder of LLaMA's kind. The fields of Hugging Face have their own names in camelCase; those after `dropout` are what sets
 *  the families apart, and a LLaMA has the simplest of each. */
export interface LlamaConfig extends Rope {
  /** The family, whose names the files have. "decoder" is all of what is below in any combination, and ours alone. */
  readonly modelType: ModelType;
  readonly vocabSize: number;
  /** Width of the residual stream. */
  readonly hiddenSize: number;
  /** Width inside the feed-forward network. */
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  /** Heads of keys and values; each serves `numAttentionHeads / numKeyValueHeads` heads of queries. */
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  /** The longest sequence, in tokens. */
  readonly maxPositionEmbeddings: number;
  /** Whether the output layer is the embedding, transposed. */
  readonly tieWordEmbeddings: boolean;
  /** Standard deviation of fresh weights. */
  readonly initializerRange: number;
  readonly bosTokenId: number | null;
  /** Tokens that end a text; none, one or several. */
  readonly eosTokenIds: readonly number[];
  /** Share of elements dropped from the embedding and from each residual branch while training. Families whose files have no field for
   *  it have `dropout`, which readers that do not know it pass over. */
  readonly dropout: number;
  /** Share of attention's weights dropped while training, which then stores a matrix of them for each head. */
  readonly attentionDropout: number;

  readonly norm: "rms" | "layer";
  readonly normEpsilon: number;
  /** Whether a layer norm has a bias. */
  readonly normBias: boolean;
  /** Whether a norm's weight is stored as what is added to 1. */
  readonly normFromOne: boolean;
  /** Before a branch, after it (on what is added), or both. */
  readonly normPlace: "before" | "after" | "both";
  /** Whether attention and feed-forward network begin from the same residual stream, behind the same norm or each behind its own. */
  readonly parallel: "none" | "oneNorm" | "twoNorms";
  /** "alibi" adds to a score its key's position times a slope of the head (Press et al. 2022, arXiv:2108.12409). */
  readonly position: "rotary" | "learned" | "alibi" | "none";
  /** Layers, from 0, whose queries and keys do not turn. */
  readonly layersWithoutRope: readonly number[];
  /** How many tokens a query sees, itself among them; null for all. */
  readonly slidingWindow: number | null;
  /** Layers, from 0, that see all tokens all the same. */
  readonly layersWithoutWindow: readonly number[];
  readonly activation: Activation;
  /** Whether the activation multiplies a second projection. */
  readonly gated: boolean;
  /** Of the projections to queries, keys and values. */
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  readonly headBias: boolean;
  /** Norms of queries and keys: of each head, or of all heads together. */
  readonly qkNorm: "none" | "head" | "width";
  /** What scores are multiplied with; null for 1/√headDim. */
  readonly attentionScale: number | null;
  /** c in c · tanh(scores / c); null for none. Attention then stores a matrix of scores for each head. */
  readonly attentionSoftcap: number | null;
  /** Whether there is a norm behind the embedding. */
  readonly embeddingNorm: boolean;
  readonly embeddingScale: number;
  /** What a branch is multiplied with before it is added. */
  readonly residualScale: number;
  readonly logitScale: number;
  /** c in c · tanh(logits / c); null for none. */
  readonly logitSoftcap: number | null;
}

const maxParameters = 2 ** 40;

/** Reads a parsed `config.json`.
 *
 *  @param what  what the JSON is, for the errors
 *  @throws FormatError naming the field, what was expected and what came; also for families and flags that this implementation
 *    lacks: what would change a number is not passed over */
export function llamaConfigFromJson(json: unknown, what = "config.json"): LlamaConfig {
  const fields = fieldsOf(json, what);
  const known = Object.fromEntries(Object.keys(families).map((name) => [name, name as ModelType]));
  const modelType = fields.choice<ModelType>("model_type", known, "llama");
  const config = { modelType, ...families[modelType].read(fields) };
  fields.done();
  checkTogether(config, what);
  return config;
}

/** What no field can say alone. */
function checkTogether(config: LlamaConfig, what: string): void {
  const field = (name: string): string => `${what}: ${name}`;
  const { numAttentionHeads: heads, numKeyValueHeads, headDim, rotaryShare, position } = config;
  if (heads % numKeyValueHeads !== 0)
    throw unexpected(
      field("num_key_value_heads"),
      `a divisor of num_attention_heads, which is ${heads}`,
      numKeyValueHeads,
    );
  if (position === "rotary" && headDim % 2 !== 0)
    throw unexpected(field("head_dim"), "an even number, as the rotary embedding turns pairs", headDim);
  const turning = Math.floor(headDim * rotaryShare);
  if (position === "rotary" && (turning % 2 !== 0 || turning === 0))
    throw unexpected(
      field("partial_rotary_factor"),
      `a share that is an even number of the head's ${headDim} elements`,
      rotaryShare,
    );
  if (config.tieWordEmbeddings && config.headBias)
    throw unexpected(field("tie_word_embeddings"), "false, as the output layer has a bias", true);
  const count = parameterCount(config);
  if (count > maxParameters)
    throw new FormatError(`${what}: the sizes make ${count} parameters; at most ${maxParameters} are read`);
}

/** The JSON that `transformers` reads.
 *  @throws ArgumentError for a configuration that models of its type do not have */
export function llamaConfigToJson(config: LlamaConfig): Record<string, unknown> {
  const { modelType } = config;
  const json = { ...families[modelType].write(config), model_type: modelType };
  const back = llamaConfigFromJson(json, `a model of type ${modelType}`);
  const lost = (Object.keys(config) as (keyof LlamaConfig)[]).find(
    (name) => JSON.stringify(back[name]) !== JSON.stringify(config[name]),
  );
  if (lost !== undefined)
    throw new ArgumentError(
      `a model of type ${modelType}: ${lost}: expected ${shown(back[lost])}, got ${shown(config[lost])}`,
      { hint: 'modelType "decoder" has all combinations, in files that only Sinan reads' },
    );
  return json;
}

/** Shapes to train from nothing, and those of published models. `llama-tiny` learns a book in minutes; `llama-bench` is what
 *  speed is measured on. */
export const llamaPresets: Readonly<Record<string, LlamaConfig>> = presets;

/** A preset with changes.
 *
 *  @throws ArgumentError if there is none of that name, or models of its type have no such thing; FormatError for changes that
 *    do not fit together
 *  @example llamaConfig("llama-tiny", { dropout: 0.1 }) */
export function llamaConfig(name: string, changes: Partial<LlamaConfig> = {}): LlamaConfig {
  const base = Object.hasOwn(llamaPresets, name) ? llamaPresets[name] : undefined;
  if (base === undefined)
    throw new ArgumentError(`there is no model ${JSON.stringify(name)}`, {
      hint: `There are ${Object.keys(llamaPresets).join(", ")}.`,
    });
  const config = { ...base, ...changes };
  return llamaConfigFromJson(llamaConfigToJson(config), name);
}
