/** What a LLaMA is, in numbers: read from the `config.json` of Hugging Face, which may come from anywhere and is checked
 *  field by field, and written so that `transformers` (4 and 5) loads it. */

import { ArgumentError, FormatError } from "sinan";
import { flagAt, type JsonObject, objectAt, unexpected } from "./tokenizer/json-value.ts";

/** The fields of Hugging Face under their own names in camelCase. */
export interface LlamaConfig {
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
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  /** Whether the output layer is the embedding, transposed. */
  readonly tieWordEmbeddings: boolean;
  /** Standard deviation of fresh weights. */
  readonly initializerRange: number;
  /** Share of elements dropped from the embedding and from each residual branch while training. Not a field of Hugging
   *  Face's, which has dropout on the attention's weights only; readers that do not know it pass over it. */
  readonly dropout: number;
  readonly bosTokenId: number | null;
  /** Tokens that end a text; none, one or several. */
  readonly eosTokenIds: readonly number[];
}

/** Larger than any model that fits one machine; a file that asks for more is broken or hostile. */
const limits = {
  vocab_size: 2 ** 24,
  hidden_size: 2 ** 17,
  intermediate_size: 2 ** 20,
  num_hidden_layers: 2 ** 12,
  num_attention_heads: 2 ** 12,
  num_key_value_heads: 2 ** 12,
  head_dim: 2 ** 12,
  max_position_embeddings: 2 ** 24,
} as const;

const maxParameters = 2 ** 40;

/** Reads a parsed `config.json`.
 *
 *  @param what  what the JSON is, for the errors
 *  @throws FormatError naming the field, what was expected and what came; also for what this implementation lacks: biases,
 *    scaled rotary embeddings, other activations than SiLU, dropout on attention weights */
export function llamaConfigFromJson(json: unknown, what = "config.json"): LlamaConfig {
  const root = objectAt(json, what);
  const field = (name: string): string => `${what}: ${name}`;
  const size = (name: keyof typeof limits, absent?: number): number => {
    const value = root[name] ?? absent;
    if (isCount(value, limits[name])) return value;
    throw unexpected(field(name), `a whole number from 1 to ${limits[name]}`, value);
  };
  const real = (name: string, absent: number, fits: (x: number) => boolean, expected: string): number => {
    const value = root[name] ?? absent;
    if (typeof value === "number" && fits(value)) return value;
    throw unexpected(field(name), expected, value);
  };
  const only = <T>(name: string, wanted: T, hint: string): void => {
    const value = root[name];
    if (value !== undefined && value !== wanted) throw unexpected(field(name), JSON.stringify(wanted), value, hint);
  };

  only("model_type", "llama", "This reader knows the LLaMA architecture.");
  only("hidden_act", "silu", "Other activations are not implemented.");
  only("attention_bias", false, "Biases are not implemented.");
  only("mlp_bias", false, "Biases are not implemented.");
  only(
    "attention_dropout",
    0,
    'Dropout on attention weights is not implemented; "dropout" is on the residual branches.',
  );

  const hiddenSize = size("hidden_size");
  const numAttentionHeads = size("num_attention_heads");
  const numKeyValueHeads = size("num_key_value_heads", numAttentionHeads);
  if (numAttentionHeads % numKeyValueHeads !== 0)
    throw unexpected(
      field("num_key_value_heads"),
      `a divisor of num_attention_heads, which is ${numAttentionHeads}`,
      numKeyValueHeads,
    );
  if ((root["head_dim"] ?? null) === null && hiddenSize % numAttentionHeads !== 0)
    throw unexpected(
      field("num_attention_heads"),
      `a divisor of hidden_size, which is ${hiddenSize}, as head_dim is not given`,
      numAttentionHeads,
    );
  const headDim = size("head_dim", hiddenSize / numAttentionHeads);
  if (headDim % 2 !== 0)
    throw unexpected(field("head_dim"), "an even number, as the rotary embedding turns pairs", headDim);

  const vocabSize = size("vocab_size");
  const config: LlamaConfig = {
    vocabSize,
    hiddenSize,
    intermediateSize: size("intermediate_size"),
    numHiddenLayers: size("num_hidden_layers"),
    numAttentionHeads,
    numKeyValueHeads,
    headDim,
    maxPositionEmbeddings: size("max_position_embeddings", 2048),
    rmsNormEps: real("rms_norm_eps", 1e-6, (x) => x >= 0 && x < 1, "a number from 0 to below 1"),
    ropeTheta: ropeTheta(root, what),
    tieWordEmbeddings: flagAt(root["tie_word_embeddings"], field("tie_word_embeddings"), false),
    initializerRange: real("initializer_range", 0.02, (x) => x > 0 && x <= 10, "a number above 0, at most 10"),
    dropout: real("dropout", 0, (x) => x >= 0 && x < 1, "a number from 0 to below 1"),
    bosTokenId: idOrNull(root["bos_token_id"], field("bos_token_id")),
    eosTokenIds: idsAt(root["eos_token_id"], field("eos_token_id")),
  };
  const count = parameterCount(config);
  if (count > maxParameters)
    throw new FormatError(`${what}: the sizes make ${count} parameters; at most ${maxParameters} are read`);
  return config;
}

const isCount = (value: unknown, most: number): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= most;

/** The base of the rotary angles: at the top level (transformers 4) or in `rope_parameters` (5). */
function ropeTheta(root: JsonObject, what: string): number {
  let theta = root["rope_theta"];
  for (const name of ["rope_scaling", "rope_parameters"]) {
    const value = root[name] ?? null;
    if (value === null) continue;
    const rope = objectAt(value, `${what}: ${name}`);
    const type = rope["rope_type"] ?? rope["type"] ?? "default";
    if (type !== "default")
      throw unexpected(
        `${what}: ${name}.rope_type`,
        '"default"',
        type,
        "Scaled rotary embeddings are not implemented.",
      );
    theta = rope["rope_theta"] ?? theta;
  }
  theta ??= 10000;
  if (typeof theta === "number" && theta > 1 && theta <= 1e12) return theta;
  throw unexpected(`${what}: rope_theta`, "a number above 1, at most 1e12", theta);
}

function idOrNull(value: unknown, where: string): number | null {
  if (value === undefined || value === null) return null;
  if (typeof value === "number" && Number.isInteger(value) && value >= -1 && value < limits.vocab_size)
    return value < 0 ? null : value;
  throw unexpected(where, "a token's id or null", value);
}

function idsAt(value: unknown, where: string): number[] {
  const listed: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (listed.length > 256) throw unexpected(where, "at most 256 ids", value);
  return listed.flatMap((id) => idOrNull(id, where) ?? []);
}

/** The JSON that `transformers` reads. */
export function llamaConfigToJson(config: LlamaConfig): Record<string, unknown> {
  const [eos] = config.eosTokenIds;
  return {
    architectures: ["LlamaForCausalLM"],
    attention_bias: false,
    attention_dropout: 0,
    bos_token_id: config.bosTokenId,
    dropout: config.dropout,
    eos_token_id: config.eosTokenIds.length > 1 ? config.eosTokenIds : (eos ?? null),
    head_dim: config.headDim,
    hidden_act: "silu",
    hidden_size: config.hiddenSize,
    initializer_range: config.initializerRange,
    intermediate_size: config.intermediateSize,
    max_position_embeddings: config.maxPositionEmbeddings,
    mlp_bias: false,
    model_type: "llama",
    num_attention_heads: config.numAttentionHeads,
    num_hidden_layers: config.numHiddenLayers,
    num_key_value_heads: config.numKeyValueHeads,
    rms_norm_eps: config.rmsNormEps,
    rope_scaling: null,
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tieWordEmbeddings,
    torch_dtype: "float32",
    use_cache: true,
    vocab_size: config.vocabSize,
  };
}

/** The number of weights, a tied embedding counted once. */
export function parameterCount(config: LlamaConfig): number {
  const { vocabSize, hiddenSize, intermediateSize, numHiddenLayers, numAttentionHeads, numKeyValueHeads, headDim } =
    config;
  const attention = 2 * hiddenSize * headDim * (numAttentionHeads + numKeyValueHeads);
  const layer = attention + 3 * hiddenSize * intermediateSize + 2 * hiddenSize;
  return vocabSize * hiddenSize * (config.tieWordEmbeddings ? 1 : 2) + numHiddenLayers * layer + hiddenSize;
}

const bench = preset({
  vocabSize: 4096,
  hiddenSize: 256,
  numHiddenLayers: 6,
  numAttentionHeads: 8,
  maxPositionEmbeddings: 256,
});
// It sees few tokens, so its weights begin near 1/√hidden: from GPT-2's 0.02 a run of minutes ends a tenth of a bit higher.
const tiny = preset({
  vocabSize: 1024,
  hiddenSize: 96,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
  maxPositionEmbeddings: 256,
  initializerRange: 0.06,
});

/** Shapes to train from nothing. `llama-tiny` learns a book in minutes; `llama-bench` is what speed is measured on. */
export const llamaPresets: Readonly<Record<string, LlamaConfig>> = { "llama-tiny": tiny, "llama-bench": bench };

/** A preset with changes.
 *
 *  @throws ArgumentError if there is none of that name; FormatError for changes that do not fit together
 *  @example llamaConfig("llama-tiny", { dropout: 0.1 }) */
export function llamaConfig(name: string, changes: Partial<LlamaConfig> = {}): LlamaConfig {
  const base = Object.hasOwn(llamaPresets, name) ? llamaPresets[name] : undefined;
  if (base === undefined)
    throw new ArgumentError(`there is no model ${JSON.stringify(name)}`, {
      hint: `There are ${Object.keys(llamaPresets).join(", ")}.`,
    });
  return llamaConfigFromJson(llamaConfigToJson({ ...base, ...changes }), name);
}

/** The feed-forward width that makes SwiGLU cost what a plain network of four times the width does, in whole 32s. */
function preset(
  shape: Pick<
    LlamaConfig,
    "vocabSize" | "hiddenSize" | "numHiddenLayers" | "numAttentionHeads" | "maxPositionEmbeddings"
  > &
    Partial<LlamaConfig>,
): LlamaConfig {
  return {
    intermediateSize: Math.floor((Math.floor((8 * shape.hiddenSize) / 3) + 31) / 32) * 32,
    numKeyValueHeads: shape.numAttentionHeads,
    headDim: shape.hiddenSize / shape.numAttentionHeads,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    tieWordEmbeddings: false,
    initializerRange: 0.02,
    dropout: 0,
    bosTokenId: null,
    eosTokenIds: [],
    ...shape,
  };
}
