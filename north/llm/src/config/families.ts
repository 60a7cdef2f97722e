/** The families whose `config.json` is read and written: what each has where the file says nothing, which is what `transformers` 5
 *  takes, and how it calls what it differs in. A family that is not here, or a flag of one that the decoder lacks, is refused. */

import { decoder } from "./decoder.ts";
import { activationName, attentionBias, family, type Family, type Model, scale } from "./dialect.ts";
import type { Fields } from "./fields.ts";
import { layerNormFamilies } from "./layer-norm-families.ts";
import { firstLayers, isFull, layerTypes, oneWindow, qwenJson, qwenWindow } from "./windows.ts";

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
      const odd = firstLayers(m.numHiddenLayers).filter((i) => i % 2 === 1);
      const full = f.layers("layer_types", m.numHiddenLayers, isFull(f)) ?? odd;
      const slidingWindow = f.sizeOrNull("sliding_window", 4096);
      const isWindowed = slidingWindow !== null && full.length < m.numHiddenLayers;
      return {
        ...gemma,
        ...attentionBias(f),
        normPlace: "both",
        embeddingScale: gemmaScale(m),
        attentionScale: f.real("query_pre_attn_scalar", 256, ...scale) ** -0.5,
        attentionSoftcap: f.realOrNull("attn_logit_softcapping", 50, ...scale),
        logitSoftcap: f.realOrNull("final_logit_softcapping", 30, ...scale),
        ...(isWindowed ? { slidingWindow, layersWithoutWindow: full } : {}),
      };
    },
    (c) => ({
      attention_bias: c.qkvBias,
      attn_logit_softcapping: c.attentionSoftcap,
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
  phi3: family(
    {
      architecture: "Phi3ForCausalLM",
      positions: 4096,
      epsilonAbsent: 1e-5,
      headDim: false,
      rotaryShare: 1,
      dropouts: { residual: ["resid_pdrop", "embd_pdrop"] },
    },
    (f) => {
      f.raw("original_max_position_embeddings"); // without a scaling of the rope it says nothing
      return oneWindow(null)(f);
    },
    (c) => ({ sliding_window: c.slidingWindow }),
  ),
  ...layerNormFamilies,
} as const satisfies Readonly<Record<string, Family>>;

/** The name that a `config.json` has for its family. */
export type ModelType = keyof typeof known | "decoder";
export const families: Readonly<Record<ModelType, Family>> = { ...known, decoder };
