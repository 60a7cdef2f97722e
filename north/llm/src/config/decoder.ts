/** The family that is ours alone: all of the decoder in any combination, each field under its own name. */

import { family, scale } from "./dialect.ts";
import { firstLayers } from "./windows.ts";

const choices = <T extends string>(...names: readonly T[]): Readonly<Record<string, T>> =>
  Object.fromEntries(names.map((n) => [n, n]));

export const decoder = family(
  { architecture: "SinanDecoder", rotaryShare: 1 },
  (f, m) => ({
    norm: f.choice("norm", choices("rms", "layer"), "rms"),
    normBias: f.flag("norm_bias", false),
    normFromOne: f.flag("norm_from_one", false),
    normPlace: f.choice("norm_place", choices("before", "after", "both"), "before"),
    parallel: f.choice("parallel", choices("none", "oneNorm", "twoNorms"), "none"),
    position: f.choice("position", choices("rotary", "learned", "alibi", "none"), "rotary"),
    layersWithoutRope: f.layers("rope_layers", m.numHiddenLayers, (v) => v === false) ?? [],
    slidingWindow: f.sizeOrNull("sliding_window"),
    layersWithoutWindow: f.layers("window_layers", m.numHiddenLayers, (v) => v === false) ?? [],
    gated: f.flag("gated", true),
    qkvBias: f.flag("qkv_bias", false),
    outputBias: f.flag("output_bias", false),
    mlpBias: f.flag("mlp_bias", false),
    headBias: f.flag("head_bias", false),
    qkNorm: f.choice("qk_norm", choices("none", "head", "width"), "none"),
    attentionScale: f.realOrNull("attention_scale", null, ...scale),
    attentionSoftcap: f.realOrNull("attention_softcap", null, ...scale),
    embeddingNorm: f.flag("embedding_norm", false),
    embeddingScale: f.real("embedding_scale", 1, ...scale),
    residualScale: f.real("residual_scale", 1, ...scale),
    logitScale: f.real("logit_scale", 1, ...scale),
    logitSoftcap: f.realOrNull("logit_softcap", null, ...scale),
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
    attention_softcap: c.attentionSoftcap,
    embedding_norm: c.embeddingNorm,
    embedding_scale: c.embeddingScale,
    residual_scale: c.residualScale,
    logit_scale: c.logitScale,
    logit_softcap: c.logitSoftcap,
  }),
);
