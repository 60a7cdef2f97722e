/** The families whose `config.json` is read and written: what each has where the file says nothing, which is what `transformers` 5
 *  takes, and how it calls what it differs in. A family that is not here, or a flag of one that the decoder lacks, is refused. */

import type { LlamaConfig } from "../config.ts";
import { activationName, family, type Family, type Model, scale } from "./dialect.ts";
import type { Fields } from "./fields.ts";

const attentionBias = (f: Fields): Partial<Model> => {
  const bias = f.flag("attention_bias", false);
  return { qkvBias: bias, outputBias: bias };
};

const isFull =
  (f: Fields) =>
  (value: unknown, at: string): boolean => {
    if (value === "full_attention" || value === "sliding_attention") return value === "full_attention";
    throw f.unexpected(at, '"full_attention" or "sliding_attention"', value);
  };
const layerTypes = (c: LlamaConfig): string[] =>
  Array.from({ length: c.numHiddenLayers }, (_, i) =>
    c.slidingWindow === null || c.layersWithoutWindow.includes(i) ? "full_attention" : "sliding_attention",
  );
const firstLayers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** A window in all layers, or none. */
const oneWindow =
  (absent: number | null) =>
  (f: Fields): Partial<Model> => ({
    slidingWindow: f.sizeOrNull("sliding_window", absent),
  });

/** Qwen's window: a flag, a size, and the layers that have it. */
function qwenWindow(f: Fields, { numHiddenLayers: count }: Model, firstAbsent = 28): Partial<Model> {
  const isOn = f.flag("use_sliding_window", false);
  const size = f.sizeOrNull("sliding_window", 4096);
  const first = f.real("max_window_layers", firstAbsent, (x) => Number.isInteger(x) && x >= 0, "a whole number");
  const listed = f.layers("layer_types", count, isFull(f));
  const full = listed ?? firstLayers(Math.min(first, count));
  return isOn && size !== null && full.length < count ? { slidingWindow: size, layersWithoutWindow: full } : {};
}
const qwenJson = (c: LlamaConfig): Record<string, unknown> => ({
  use_sliding_window: c.slidingWindow !== null,
  sliding_window: c.slidingWindow,
  max_window_layers: c.slidingWindow === null ? c.numHiddenLayers : 0,
  layer_types: layerTypes(c),
});

const gemma = { normFromOne: true } as const;
const gemmaScale = (m: Model): number => Math.sqrt(m.hiddenSize);
const onlyCausal = (f: Fields): void => f.only("use_bidirectional_attention", false, "Attention is causal.");

/** What `f` makes x of, as near to `y` as rounding leaves it: short if there is such a number. */
function before(x: number, y: number, f: (y: number) => number): number {
  const near = [-2, -1, 0, 1, 2].map((ulps) => y * (1 + ulps * Number.EPSILON));
  return [Number(y.toPrecision(12)), ...near].find((one) => f(one) === x) ?? y;
}
const inverse = (x: number): number => before(x, 1 / x, (y) => 1 / y);
const inverseSquare = (x: number): number => before(x, x ** -2, (y) => y ** -0.5);

const known = {
  llama: family(
    { architecture: "LlamaForCausalLM" },
    (f) => {
      f.only("pretraining_tp", 1, "Slices of projections are not summed one by one.");
      f.only("rope_interleaved", false, "Pairs are halves of a head.");
      return { ...attentionBias(f), mlpBias: f.flag("mlp_bias", false) };
    },
    (c) => ({ attention_bias: c.qkvBias, mlp_bias: c.mlpBias }),
  ),
  mistral: family({ architecture: "MistralForCausalLM", positions: 2 ** 17 }, oneWindow(4096), (c) => ({
    sliding_window: c.slidingWindow,
  })),
  qwen2: family(
    { architecture: "Qwen2ForCausalLM", positions: 32768, headDim: false },
    (f, m) => ({ qkvBias: true, ...qwenWindow(f, m) }),
    qwenJson,
  ),
  qwen3: family(
    { architecture: "Qwen3ForCausalLM", positions: 32768, headDim: 128 },
    (f, m) => ({ ...attentionBias(f), qkNorm: "head", ...qwenWindow(f, m) }),
    (c) => ({ attention_bias: c.qkvBias, ...qwenJson(c) }),
  ),
  smollm3: family(
    { architecture: "SmolLM3ForCausalLM", positions: 32768, tied: true },
    (f, m) => {
      const every = f.size("no_rope_layer_interval", 4);
      const still = firstLayers(m.numHiddenLayers).filter((i) => (i + 1) % every === 0);
      const window = qwenWindow(f, m, m.numHiddenLayers);
      return {
        ...attentionBias(f),
        mlpBias: f.flag("mlp_bias", false),
        layersWithoutRope: f.layers("no_rope_layers", m.numHiddenLayers, (v) => v === 0) ?? still,
        ...window,
      };
    },
    (c) => ({
      attention_bias: c.qkvBias,
      mlp_bias: c.mlpBias,
      no_rope_layers: firstLayers(c.numHiddenLayers).map((i) => (c.layersWithoutRope.includes(i) ? 0 : 1)),
      ...qwenJson(c),
    }),
  ),
  gemma: family(
    {
      architecture: "GemmaForCausalLM",
      positions: 8192,
      headDim: 256,
      tied: true,
      activationAbsent: "geluTanh",
    },
    (f, m) => {
      onlyCausal(f);
      f.only("hidden_activation", activationName[m.activation], "It has to be hidden_act.");
      return { ...gemma, embeddingScale: gemmaScale(m), ...attentionBias(f) };
    },
    (c) => ({ attention_bias: c.qkvBias }),
  ),
  gemma2: family(
    {
      architecture: "Gemma2ForCausalLM",
      positions: 8192,
      headDim: 256,
      tied: true,
      names: { hidden_act: "hidden_activation" },
      activationAbsent: "geluTanh",
    },
    (f, m) => {
      onlyCausal(f);
      f.raw("hidden_act"); // files have it, and nothing reads it
      if (f.sizeOrNull("attn_logit_softcapping", 50) !== null)
        throw f.unexpected(
          "attn_logit_softcapping",
          "null",
          f.raw("attn_logit_softcapping") ?? 50,
          "Scores are not capped.",
        );
      const odd = firstLayers(m.numHiddenLayers).filter((i) => i % 2 === 1);
      const full = f.layers("layer_types", m.numHiddenLayers, isFull(f)) ?? odd;
      const slidingWindow = f.sizeOrNull("sliding_window", 4096);
      const isWindowed = slidingWindow !== null && full.length < m.numHiddenLayers;
      const cap = f.raw("final_logit_softcapping");
      return {
        ...gemma,
        ...attentionBias(f),
        normPlace: "both",
        embeddingScale: gemmaScale(m),
        attentionScale: f.real("query_pre_attn_scalar", 256, ...scale) ** -0.5,
        logitSoftcap: cap === null ? null : f.real("final_logit_softcapping", 30, ...scale),
        ...(isWindowed ? { slidingWindow, layersWithoutWindow: full } : {}),
      };
    },
    (c) => ({
      attention_bias: c.qkvBias,
      attn_logit_softcapping: null,
      final_logit_softcapping: c.logitSoftcap,
      query_pre_attn_scalar: inverseSquare(c.attentionScale ?? c.headDim ** -0.5),
      sliding_window: c.slidingWindow,
      layer_types: layerTypes(c),
    }),
  ),
  olmo2: family(
    { architecture: "Olmo2ForCausalLM", epsilonAbsent: 1e-5, headDim: false },
    (f) => ({ ...attentionBias(f), normPlace: "after", qkNorm: "width" }),
    (c) => ({ attention_bias: c.qkvBias }),
  ),
  granite: family(
    { architecture: "GraniteForCausalLM", headDim: false },
    (f) => ({
      ...attentionBias(f),
      mlpBias: f.flag("mlp_bias", false),
      embeddingScale: f.real("embedding_multiplier", 1, ...scale),
      residualScale: f.real("residual_multiplier", 1, ...scale),
      attentionScale: f.real("attention_multiplier", 1, ...scale),
      logitScale: 1 / f.real("logits_scaling", 1, ...scale),
    }),
    (c) => ({
      attention_bias: c.qkvBias,
      mlp_bias: c.mlpBias,
      embedding_multiplier: c.embeddingScale,
      residual_multiplier: c.residualScale,
      attention_multiplier: c.attentionScale ?? c.headDim ** -0.5,
      logits_scaling: inverse(c.logitScale),
    }),
  ),
  stablelm: family(
    {
      architecture: "StableLmForCausalLM",
      positions: 4096,
      names: { rms_norm_eps: "layer_norm_eps" },
      epsilonAbsent: 1e-5,
      headDim: false,
      rotaryShare: 0.25,
      dropouts: ["attention_dropout", "hidden_dropout"],
    },
    (f) => {
      f.only("qk_layernorm", false, "Norms that differ between heads are not implemented.");
      return {
        norm: "layer",
        normBias: true,
        qkvBias: f.flag("use_qkv_bias", false),
        parallel: f.flag("use_parallel_residual", false) ? "oneNorm" : "none",
      };
    },
    (c) => ({ use_qkv_bias: c.qkvBias, use_parallel_residual: c.parallel === "oneNorm" }),
  ),
  phi: family(
    {
      architecture: "PhiForCausalLM",
      names: { rms_norm_eps: "layer_norm_eps" },
      epsilonAbsent: 1e-5,
      headDim: false,
      activationAbsent: "geluTanh",
      rotaryShare: 0.5,
      dropouts: ["attention_dropout", "resid_pdrop", "embd_pdrop"],
    },
    (f) => ({
      norm: "layer",
      normBias: true,
      gated: false,
      qkvBias: true,
      outputBias: true,
      mlpBias: true,
      headBias: true,
      qkNorm: f.flag("qk_layernorm", false) ? "head" : "none",
      parallel: "oneNorm",
    }),
    (c) => ({ qk_layernorm: c.qkNorm === "head" }),
  ),
  starcoder2: family(
    {
      architecture: "Starcoder2ForCausalLM",
      positions: 4096,
      names: { rms_norm_eps: "norm_epsilon" },
      epsilonAbsent: 1e-5,
      headDim: false,
      tied: true,
      activationAbsent: "geluTanh",
      dropouts: ["attention_dropout", "residual_dropout", "embedding_dropout"],
    },
    (f) => {
      const bias = f.flag("use_bias", true);
      f.only("norm_type", "layer_norm", "");
      f.only("mlp_type", "default", "");
      return {
        norm: "layer",
        normBias: true,
        gated: false,
        qkvBias: bias,
        outputBias: bias,
        mlpBias: bias,
        ...oneWindow(null)(f),
      };
    },
    (c) => ({ use_bias: c.qkvBias, sliding_window: c.slidingWindow }),
  ),
  nemotron: family(
    {
      architecture: "NemotronForCausalLM",
      positions: 4096,
      names: { rms_norm_eps: "norm_eps" },
      epsilonAbsent: 1e-5,
      activationAbsent: "relu2",
      rotaryShare: 0.5,
    },
    (f) => ({
      ...attentionBias(f),
      norm: "layer",
      normBias: true,
      normFromOne: true,
      gated: false,
      mlpBias: f.flag("mlp_bias", false),
    }),
    (c) => ({ attention_bias: c.qkvBias, mlp_bias: c.mlpBias }),
  ),
  phi3: family(
    {
      architecture: "Phi3ForCausalLM",
      positions: 4096,
      epsilonAbsent: 1e-5,
      headDim: false,
      rotaryShare: 1,
      dropouts: ["attention_dropout", "resid_pdrop", "embd_pdrop"],
    },
    (f) => {
      f.raw("original_max_position_embeddings"); // without a scaling of the rope it says nothing
      return oneWindow(null)(f);
    },
    (c) => ({ sliding_window: c.slidingWindow }),
  ),
  gpt_neox: family(
    {
      architecture: "GPTNeoXForCausalLM",
      names: { rms_norm_eps: "layer_norm_eps" },
      epsilonAbsent: 1e-5,
      headDim: false,
      grouped: false,
      activationAbsent: "gelu",
      rotaryShare: 0.25,
      dropouts: ["attention_dropout", "hidden_dropout"],
    },
    (f) => {
      const bias = f.flag("attention_bias", true);
      return {
        norm: "layer",
        normBias: true,
        gated: false,
        mlpBias: true,
        qkvBias: bias,
        outputBias: bias,
        parallel: f.flag("use_parallel_residual", true) ? "twoNorms" : "none",
      };
    },
    (c) => ({ attention_bias: c.qkvBias, use_parallel_residual: c.parallel === "twoNorms" }),
  ),
  gpt2: family(
    {
      architecture: "GPT2LMHeadModel",
      names: {
        hidden_size: "n_embd",
        intermediate_size: "n_inner",
        num_attention_heads: "n_head",
        num_hidden_layers: "n_layer",
        max_position_embeddings: "n_positions",
        rms_norm_eps: "layer_norm_epsilon",
        hidden_act: "activation_function",
      },
      positions: 1024,
      epsilonAbsent: 1e-5,
      headDim: false,
      grouped: false,
      tied: true,
      activationAbsent: "geluTanh",
      rotaryShare: "none",
      dropouts: ["attn_pdrop", "resid_pdrop", "embd_pdrop"],
    },
    (f, m) => {
      f.only("n_ctx", m.maxPositionEmbeddings, "It has to be n_positions.");
      return {
        norm: "layer",
        normBias: true,
        position: "learned",
        gated: false,
        qkvBias: true,
        outputBias: true,
        mlpBias: true,
        attentionScale: f.flag("scale_attn_weights", true) ? null : 1,
      };
    },
    (c) => ({ scale_attn_weights: c.attentionScale === null }),
  ),
} as const satisfies Readonly<Record<string, Family>>;

const choices = <T extends string>(...names: readonly T[]): Readonly<Record<string, T>> =>
  Object.fromEntries(names.map((n) => [n, n]));

/** All of the decoder in any combination. */
const decoder = family(
  { architecture: "SinanDecoder", rotaryShare: 1 },
  (f, m) => ({
    norm: f.choice("norm", choices("rms", "layer"), "rms"),
    normBias: f.flag("norm_bias", false),
    normFromOne: f.flag("norm_from_one", false),
    normPlace: f.choice("norm_place", choices("before", "after", "both"), "before"),
    parallel: f.choice("parallel", choices("none", "oneNorm", "twoNorms"), "none"),
    position: f.choice("position", choices("rotary", "learned", "none"), "rotary"),
    layersWithoutRope: f.layers("rope_layers", m.numHiddenLayers, (v) => v === false) ?? [],
    slidingWindow: f.sizeOrNull("sliding_window"),
    layersWithoutWindow: f.layers("window_layers", m.numHiddenLayers, (v) => v === false) ?? [],
    gated: f.flag("gated", true),
    qkvBias: f.flag("qkv_bias", false),
    outputBias: f.flag("output_bias", false),
    mlpBias: f.flag("mlp_bias", false),
    headBias: f.flag("head_bias", false),
    qkNorm: f.choice("qk_norm", choices("none", "head", "width"), "none"),
    attentionScale: f.raw("attention_scale") === null ? null : f.real("attention_scale", 1, ...scale),
    embeddingScale: f.real("embedding_scale", 1, ...scale),
    residualScale: f.real("residual_scale", 1, ...scale),
    logitScale: f.real("logit_scale", 1, ...scale),
    logitSoftcap: f.raw("logit_softcap") === null ? null : f.real("logit_softcap", 1, ...scale),
  }),
  (c) => ({
    norm: c.norm,
    norm_bias: c.normBias,
    norm_from_one: c.normFromOne,
    norm_place: c.normPlace,
    parallel: c.parallel,
    position: c.position,
    rope_layers: firstLayers(c.numHiddenLayers).map((i) => !c.layersWithoutRope.includes(i)),
    sliding_window: c.slidingWindow,
    window_layers: firstLayers(c.numHiddenLayers).map((i) => !c.layersWithoutWindow.includes(i)),
    gated: c.gated,
    qkv_bias: c.qkvBias,
    output_bias: c.outputBias,
    mlp_bias: c.mlpBias,
    head_bias: c.headBias,
    qk_norm: c.qkNorm,
    attention_scale: c.attentionScale,
    embedding_scale: c.embeddingScale,
    residual_scale: c.residualScale,
    logit_scale: c.logitScale,
    logit_softcap: c.logitSoftcap,
  }),
);

/** The name that a `config.json` has for its family. */
export type ModelType = keyof typeof known | "decoder";
export const families: Readonly<Record<ModelType, Family>> = { ...known, decoder };
