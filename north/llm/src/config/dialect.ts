/** The fields that the `config.json` of all families have, which some call by other names. */

import type { Activation, LlamaConfig } from "../config.ts";
import type { Fields } from "./fields.ts";
import { plain } from "./presets.ts";
import { readRope, type Rope, writeRope } from "./rope.ts";

export type Model = Omit<LlamaConfig, "modelType">;

export interface Family {
  read(f: Fields): Model;
  write(c: LlamaConfig): Record<string, unknown>;
}

const activations: Readonly<Record<string, Activation>> = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu",
  gelu_new: "geluTanh",
  gelu_pytorch_tanh: "geluTanh",
  gelu_fast: "geluTanh",
  relu: "relu",
  relu2: "relu2",
};
export const activationName: Readonly<Record<Activation, string>> = {
  silu: "silu",
  gelu: "gelu",
  geluTanh: "gelu_pytorch_tanh",
  relu: "relu",
  relu2: "relu2",
};

const fraction = [(x: number) => x >= 0 && x < 1, "a number from 0 to below 1"] as const;
export const scale = [(x: number) => x > 0 && x <= 1e6, "a number above 0, at most 1e6"] as const;
const isId = (x: unknown): x is number => typeof x === "number" && Number.isInteger(x) && x >= -1 && x < 2 ** 24;

function idsAt(f: Fields, name: string): number[] {
  const value = f.raw(name);
  const listed: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (listed.length > 256) throw f.unexpected(name, "at most 256 ids", value);
  return listed.flatMap((id) => {
    if (id === null) return [];
    if (!isId(id)) throw f.unexpected(name, "a token's id or null", id);
    return id < 0 ? [] : [id === 0 ? 0 : id]; // −0 would not come back
  });
}

/** The fields that say how much is dropped in training. */
interface Dropouts {
  /** Of attention's weights; "attention_dropout" unless it is said. */
  readonly attention?: string;
  /** Of the embedding and of the branches, which have to be equal; "dropout", a field of ours, where there are none. */
  readonly residual?: readonly string[];
  /** Where it is dropped elsewhere than here: it has to be 0. */
  readonly refused?: readonly string[];
  /** Where the file does not say; 0 unless it is given. */
  readonly absent?: number;
}

/** What families differ in when they say the same. */
interface Dialect {
  readonly architecture: string;
  /** What it calls the fields that others call otherwise. */
  readonly names?: Readonly<Record<string, string>>;
  readonly epsilonAbsent?: number;
  readonly activationAbsent?: Activation;
  /** Whether a head may have another size than width / heads; a number is what it has where the file does not say. */
  readonly headDim?: boolean | number;
  readonly tied?: boolean;
  readonly positions?: number;
  /** The share of a head that turns where the file does not say; null where all of it always does, "none" where there is no rope. */
  readonly rotaryShare?: number | null | "none";
  /** Whether heads may share keys. */
  readonly grouped?: boolean;
  readonly dropouts?: Dropouts;
}

const noRope: Rope = { ropeTheta: 10000, rotaryShare: 1, ropeScaling: null };

/** What `transformers` reads under either name. */
const aliased = new Set(["hidden_size", "num_attention_heads", "num_hidden_layers", "max_position_embeddings"]);

/** The fields that all have. */
function common(f: Fields, d: Dialect): Model {
  const of = (name: string): string => {
    const own = d.names?.[name] ?? name;
    if (own === name || !aliased.has(name) || f.raw(name) === null) return own;
    if (f.raw(own) === null) return name;
    f.only(name, f.raw(own), `It has to be ${own}.`);
    return own;
  };
  const hiddenSize = f.size(of("hidden_size"));
  const numAttentionHeads = f.size(of("num_attention_heads"));
  const fixed = d.headDim === false || (typeof d.headDim !== "number" && f.raw("head_dim") === null);
  if (fixed && hiddenSize % numAttentionHeads !== 0)
    throw f.unexpected(
      of("num_attention_heads"),
      `a divisor of ${of("hidden_size")}, which is ${hiddenSize}, as head_dim is not given`,
      numAttentionHeads,
    );
  const usual = hiddenSize / numAttentionHeads;
  if (d.headDim === false) f.only("head_dim", usual, "Models of this type have heads of width / heads.");
  const maxPositionEmbeddings = f.size(of("max_position_embeddings"), d.positions ?? 2048);
  const [bos] = idsAt(f, "bos_token_id");
  return {
    vocabSize: f.size("vocab_size"),
    hiddenSize,
    intermediateSize: f.size(of("intermediate_size"), d.names?.["intermediate_size"] ? 4 * hiddenSize : undefined),
    numHiddenLayers: f.size(of("num_hidden_layers")),
    numAttentionHeads,
    numKeyValueHeads: d.grouped === false ? numAttentionHeads : f.size("num_key_value_heads", numAttentionHeads),
    headDim: d.headDim === false ? usual : f.size("head_dim", typeof d.headDim === "number" ? d.headDim : usual),
    maxPositionEmbeddings,
    tieWordEmbeddings: f.flag("tie_word_embeddings", d.tied ?? false),
    initializerRange: f.real("initializer_range", 0.02, (x) => x > 0 && x <= 10, "a number above 0, at most 10"),
    bosTokenId: bos ?? null,
    eosTokenIds: idsAt(f, "eos_token_id"),
    ...dropoutsOf(f, d),
    ...(d.rotaryShare === "none" ? noRope : readRope(f, maxPositionEmbeddings, d.rotaryShare ?? null)),
    ...plain,
    normEpsilon: f.real(of("rms_norm_eps"), d.epsilonAbsent ?? 1e-6, ...fraction),
    activation: f.choice(of("hidden_act"), activations, activationName[d.activationAbsent ?? "silu"]),
  };
}

function dropoutsOf(f: Fields, { dropouts = {} }: Dialect): Pick<Model, "dropout" | "attentionDropout"> {
  const { attention = "attention_dropout", residual = ["dropout"], refused = [], absent = 0 } = dropouts;
  for (const name of refused) f.only(name, 0, "It is dropped elsewhere. Set it to 0: only training differs.");
  const [dropout, ...others] = residual.map((name) => f.real(name, absent, ...fraction)) as [number, ...number[]];
  others.forEach((other, i) => {
    const hint = "Embedding and branches drop the same share. Set both to one: only training differs.";
    if (other !== dropout)
      throw f.unexpected(residual[i + 1] as string, `${dropout}, as ${residual[0]} is`, other, hint);
  });
  return { dropout, attentionDropout: f.real(attention, absent, ...fraction) };
}

function dropoutsJson(c: LlamaConfig, { dropouts = {} }: Dialect): Record<string, number> {
  const { attention = "attention_dropout", residual = ["dropout"] } = dropouts;
  return { [attention]: c.attentionDropout, ...Object.fromEntries(residual.map((name) => [name, c.dropout])) };
}

function commonJson(c: LlamaConfig, d: Dialect): Record<string, unknown> {
  const of = (name: string): string => d.names?.[name] ?? name;
  const [eos] = c.eosTokenIds;
  return {
    architectures: [d.architecture],
    ...dropoutsJson(c, d),
    bos_token_id: c.bosTokenId,
    eos_token_id: c.eosTokenIds.length > 1 ? c.eosTokenIds : (eos ?? null),
    ...(d.headDim === false ? {} : { head_dim: c.headDim }),
    [of("hidden_act")]: activationName[c.activation],
    [of("hidden_size")]: c.hiddenSize,
    initializer_range: c.initializerRange,
    [of("intermediate_size")]: c.intermediateSize,
    [of("max_position_embeddings")]: c.maxPositionEmbeddings,
    [of("num_attention_heads")]: c.numAttentionHeads,
    [of("num_hidden_layers")]: c.numHiddenLayers,
    ...(d.grouped === false ? {} : { num_key_value_heads: c.numKeyValueHeads }),
    [of("rms_norm_eps")]: c.normEpsilon,
    ...(d.rotaryShare === "none" ? {} : writeRope(c, (d.rotaryShare ?? null) !== null)),
    tie_word_embeddings: c.tieWordEmbeddings,
    torch_dtype: "float32",
    use_cache: true,
    vocab_size: c.vocabSize,
  };
}

/** A family as the common fields with some more. */
export const family = (
  d: Dialect,
  own: (f: Fields, model: Model) => Partial<Model>,
  ownJson: (c: LlamaConfig) => Record<string, unknown> = () => ({}),
): Family => ({
  read(f) {
    const model = common(f, d);
    return { ...model, ...own(f, model) };
  },
  write: (c) => ({ ...commonJson(c, d), ...ownJson(c) }),
});

/** One flag for all projections of attention. */
export const attentionBias = (f: Fields): Partial<Model> => {
  const bias = f.flag("attention_bias", false);
  return { qkvBias: bias, outputBias: bias };
};
