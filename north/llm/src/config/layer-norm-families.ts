/** The families with layer norms, most of them with a plain feed-forward network: GPT-2's descendants. */

import { activationName, attentionBias, family, type Family } from "./dialect.ts";
import { oneWindow } from "./windows.ts";

/** How Megatron ran it; without `slow_but_exact`, which is refused, `pretraining_tp` is read by nothing. */
const bloomNotes = [
  "attention_softmax_in_fp32",
  "bias_dropout_fusion",
  "masked_softmax_fusion",
  "offset_alibi",
  "pretraining_tp",
  "skip_bias_add",
  "skip_bias_add_qkv",
];

export const layerNormFamilies = {
  stablelm: family(
    {
      architecture: "StableLmForCausalLM",
      positions: 4096,
      names: { rms_norm_eps: "layer_norm_eps" },
      epsilonAbsent: 1e-5,
      headDim: false,
      rotaryShare: 0.25,
      dropouts: { refused: ["hidden_dropout"] },
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
      dropouts: { residual: ["resid_pdrop", "embd_pdrop"] },
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
      dropouts: { residual: ["residual_dropout", "embedding_dropout"] },
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
  gpt_neox: family(
    {
      architecture: "GPTNeoXForCausalLM",
      names: { rms_norm_eps: "layer_norm_eps" },
      epsilonAbsent: 1e-5,
      headDim: false,
      grouped: false,
      activationAbsent: "gelu",
      rotaryShare: 0.25,
      dropouts: { residual: ["hidden_dropout"] },
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
      dropouts: { attention: "attn_pdrop", residual: ["resid_pdrop", "embd_pdrop"], absent: 0.1 },
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
  bloom: family(
    {
      architecture: "BloomForCausalLM",
      names: {
        hidden_size: "n_embed",
        num_attention_heads: "n_head",
        num_hidden_layers: "n_layer",
        intermediate_size: "n_inner",
        max_position_embeddings: "seq_length",
        rms_norm_eps: "layer_norm_epsilon",
      },
      epsilonAbsent: 1e-5,
      headDim: false,
      grouped: false,
      tied: true,
      activationAbsent: "geluTanh",
      rotaryShare: "none",
      dropouts: { residual: ["dropout"], refused: ["hidden_dropout"] },
    },
    (f, m) => {
      f.only("n_inner", 4 * m.hiddenSize, "It is four times the width.");
      f.only("hidden_act", activationName.geluTanh, "Models of this type have no other.");
      for (const name of bloomNotes) f.raw(name);
      return {
        norm: "layer",
        normBias: true,
        position: "alibi",
        embeddingNorm: true,
        gated: false,
        qkvBias: true,
        outputBias: true,
        mlpBias: true,
      };
    },
    // Published files have n_embed, newer ones the usual name; all of `transformers` read both.
    (c) => ({ hidden_size: c.hiddenSize }),
  ),
} as const satisfies Readonly<Record<string, Family>>;
