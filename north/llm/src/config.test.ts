/** Configurations of transformers 4 and 5 are read, what we write comes back, and what cannot be right is refused by name. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { ArgumentError, FormatError } from "sinan";
import { fixturePath, loadCases } from "../../../tests/fixtures/load.ts";
import { type LlamaConfig, llamaConfig, llamaConfigFromJson, llamaConfigToJson, llamaPresets } from "./config.ts";
import { llama } from "./model/llama.ts";
import { parameterCount } from "./model/size.ts";
import { weightShapes } from "./weights/shapes.ts";

const read = (...path: readonly string[]): Record<string, unknown> =>
  JSON.parse(readFileSync(fixturePath(...path), "utf8"));
const valid = (): Record<string, unknown> => read("llama", "wide-heads", "config.json");

test("transformers 4 and 5 write the same model differently", () => {
  const five = llamaConfigFromJson(valid());
  assert.deepEqual(llamaConfigFromJson(read("llama", "wide-heads", "config.v4.json")), five);
  assert.equal(five.ropeTheta, 500000);
  assert.equal(five.headDim, 12);
  assert.equal(five.numKeyValueHeads, 1);
  assert.deepEqual(five.eosTokenIds, [2]);
});

test("what is written is read back", () => {
  const configs = [
    ...Object.values(llamaPresets),
    llamaConfigFromJson(valid()),
    llamaConfig("llama-tiny", { dropout: 0.1, eosTokenIds: [5, 6], bosTokenId: 3 }),
  ];
  for (const config of configs)
    assert.deepEqual(llamaConfigFromJson(JSON.parse(JSON.stringify(llamaConfigToJson(config)))), config);
});

test("fields that may be absent have the defaults of transformers", () => {
  const config = llamaConfigFromJson({
    vocab_size: 8,
    hidden_size: 32,
    intermediate_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: 4,
  });
  assert.equal(config.numKeyValueHeads, 4);
  assert.equal(config.headDim, 8);
  assert.equal(config.maxPositionEmbeddings, 2048);
  assert.equal(config.normEpsilon, 1e-6);
  assert.equal(config.ropeTheta, 10000);
  assert.equal(config.tieWordEmbeddings, false);
  assert.deepEqual(config.eosTokenIds, []);
});

test("the benchmark's model is that of the peers", () => {
  const config = llamaConfig("llama-bench");
  assert.equal(config.intermediateSize, Math.floor((Math.floor((8 * 256) / 3) + 31) / 32) * 32);
  assert.equal(
    parameterCount(config),
    2 * 4096 * 256 + 6 * (4 * 256 * 256 + 3 * 256 * config.intermediateSize + 2 * 256) + 256,
  );
});

const bad: readonly (readonly [field: string, value: unknown, message: RegExp])[] = [
  ["vocab_size", undefined, /vocab_size: expected a whole number .* got nothing/],
  ["vocab_size", 2 ** 31, /vocab_size/],
  ["vocab_size", "97", /vocab_size: .* got "97"/],
  ["hidden_size", -40, /hidden_size/],
  ["hidden_size", 1e300, /hidden_size/],
  ["intermediate_size", 0, /intermediate_size/],
  ["intermediate_size", 56.5, /intermediate_size/],
  ["num_hidden_layers", 1e9, /num_hidden_layers/],
  ["num_attention_heads", null, /num_attention_heads/],
  ["num_key_value_heads", 3, /num_key_value_heads: expected a divisor of num_attention_heads, which is 4, got 3/],
  ["head_dim", 7, /head_dim: expected an even number/],
  ["max_position_embeddings", 2 ** 40, /max_position_embeddings/],
  ["rms_norm_eps", -1, /rms_norm_eps/],
  ["rms_norm_eps", "1e-5", /rms_norm_eps/],
  ["rope_parameters", { rope_type: "llama3", factor: 8 }, /rope_parameters: low_freq_factor: expected .* got nothing/],
  ["rope_parameters", { rope_type: "longrope", factor: 2 }, /rope_type: expected "default" or .* got "longrope"/],
  ["rope_scaling", { type: "linear" }, /rope_scaling: factor: expected a number from 1/],
  ["rope_scaling", { type: "linear", factor: 0.5 }, /rope_scaling: factor/],
  ["rope_scaling", { type: "linear", factor: 2, finetuned: true }, /rope_scaling: finetuned: expected no such field/],
  ["rope_scaling", { rope_type: "yarn", factor: 4, beta_slow: -1 }, /beta_slow/],
  ["rope_parameters", { partial_rotary_factor: 0.5 }, /partial_rotary_factor: expected 1, got 0.5/],
  ["rope_parameters", 3, /rope_parameters: expected an object/],
  ["rope_parameters", { rope_theta: 0 }, /rope_theta/],
  ["tie_word_embeddings", "yes", /tie_word_embeddings: expected true or false/],
  ["attention_bias", 1, /attention_bias: expected true or false, got 1/],
  ["mlp_bias", "yes", /mlp_bias/],
  ["pretraining_tp", 2, /pretraining_tp: expected 1, got 2/],
  ["rope_interleaved", true, /rope_interleaved/],
  ["quantization_config", { bits: 4 }, /quantization_config: expected no such field/],
  ["attn_logit_softcapping", 50, /attn_logit_softcapping: expected no such field/],
  ["attention_dropout", 1, /attention_dropout: expected a number from 0 to below 1/],
  ["hidden_act", "tanh", /hidden_act: expected "silu" or .* got "tanh"/],
  ["model_type", "bert", /model_type: expected "llama" or .* got "bert"/],
  ["dropout", 1, /dropout/],
  ["initializer_range", 0, /initializer_range/],
  ["eos_token_id", [1, "x"], /eos_token_id/],
  ["bos_token_id", 1.5, /bos_token_id/],
];

for (const [field, value, message] of bad)
  test(`${field} = ${JSON.stringify(value)} is refused`, () => {
    assert.throws(
      () => llamaConfigFromJson({ ...valid(), [field]: value }),
      (error: unknown) => error instanceof FormatError && message.test(error.message),
    );
  });

test("sizes that are fine alone and absurd together are refused", () => {
  const huge = {
    hidden_size: 2 ** 16,
    intermediate_size: 2 ** 20,
    num_hidden_layers: 4096,
    num_attention_heads: 4096,
    num_key_value_heads: 4096,
  };
  assert.throws(() => llamaConfigFromJson({ ...valid(), ...huge }), /parameters/);
});

test("heads that do not divide the width need a head_dim", () => {
  assert.throws(
    () => llamaConfigFromJson({ ...valid(), head_dim: null, hidden_size: 42 }),
    /num_attention_heads: expected a divisor of hidden_size/,
  );
});

test("what is no object is refused", () => {
  for (const json of [null, [], "llama", 3]) assert.throws(() => llamaConfigFromJson(json), FormatError);
});

test("an unknown preset is refused with those that there are", () => {
  assert.throws(
    () => llamaConfig("llama-9000"),
    (e: unknown) => e instanceof ArgumentError && /llama-tiny/.test(e.message),
  );
  assert.throws(() => llamaConfig("toString"), ArgumentError);
  assert.throws(() => llamaConfig("llama-tiny", { numKeyValueHeads: 3 }), FormatError);
});

test("whatever stands in a field, it is refused by a FormatError or makes a configuration that goes around", () => {
  const { cases } = loadCases("families");
  const value = fc.oneof(
    fc.jsonValue(),
    fc.integer({ min: -3, max: 40 }),
    fc.double(),
    fc.constantFrom("linear", "yarn", "full_attention", "relu2", 2 ** 31, 2 ** 53, 1e308, "__proto__"),
  );
  let made = 0;
  fc.assert(
    fc.property(fc.nat(), fc.nat(), value, (c, f, v) => {
      const { config } = cases[c % cases.length] as (typeof cases)[number];
      const names = Object.keys(config);
      const name = names[f % names.length] as string;
      const nested = config[name];
      const isNested = typeof nested === "object" && nested !== null && !Array.isArray(nested) && f % 3 > 0;
      const inner = isNested ? { ...nested, [Object.keys(nested)[f % Object.keys(nested).length] ?? "x"]: v } : v;
      let read: LlamaConfig;
      try {
        read = llamaConfigFromJson({ ...config, [name]: inner });
      } catch (error) {
        assert.ok(error instanceof FormatError, String(error));
        return;
      }
      made++;
      assert.ok(Number.isSafeInteger(parameterCount(read)));
      assert.deepEqual(llamaConfigFromJson(JSON.parse(JSON.stringify(llamaConfigToJson(read)))), read);
    }),
    { numRuns: 2000 },
  );
  assert.ok(made > 100);
});

/** The `config.json` of the Hugging Face Hub, as it is. */
const hub: Readonly<Record<string, Record<string, unknown>>> = {
  gpt2: {
    activation_function: "gelu_new",
    architectures: ["GPT2LMHeadModel"],
    attn_pdrop: 0.1,
    bos_token_id: 50256,
    embd_pdrop: 0.1,
    eos_token_id: 50256,
    initializer_range: 0.02,
    layer_norm_epsilon: 1e-5,
    model_type: "gpt2",
    n_ctx: 1024,
    n_embd: 768,
    n_head: 12,
    n_layer: 12,
    n_positions: 1024,
    resid_pdrop: 0.1,
    summary_activation: null,
    summary_first_dropout: 0.1,
    summary_proj_to_labels: true,
    summary_type: "cls_index",
    summary_use_proj: true,
    task_specific_params: { "text-generation": { do_sample: true, max_length: 50 } },
    vocab_size: 50257,
  },
  "bloom-560m": {
    apply_residual_connection_post_layernorm: false,
    architectures: ["BloomForCausalLM"],
    attention_dropout: 0,
    attention_softmax_in_fp32: true,
    bias_dropout_fusion: true,
    bos_token_id: 1,
    eos_token_id: 2,
    hidden_dropout: 0,
    hidden_size: 1024,
    initializer_range: 0.02,
    layer_norm_epsilon: 1e-5,
    masked_softmax_fusion: true,
    model_type: "bloom",
    n_head: 16,
    n_inner: null,
    n_layer: 24,
    offset_alibi: 100,
    pad_token_id: 3,
    pretraining_tp: 1,
    skip_bias_add: true,
    skip_bias_add_qkv: false,
    slow_but_exact: false,
    transformers_version: "4.26.0",
    unk_token_id: 0,
    use_cache: true,
    vocab_size: 250880,
  },
  "gemma-2-2b": {
    architectures: ["Gemma2ForCausalLM"],
    attention_bias: false,
    attention_dropout: 0,
    attn_logit_softcapping: 50,
    bos_token_id: 2,
    cache_implementation: "hybrid",
    eos_token_id: 1,
    final_logit_softcapping: 30,
    head_dim: 256,
    hidden_act: "gelu_pytorch_tanh",
    hidden_activation: "gelu_pytorch_tanh",
    hidden_size: 2304,
    initializer_range: 0.02,
    intermediate_size: 9216,
    max_position_embeddings: 8192,
    model_type: "gemma2",
    num_attention_heads: 8,
    num_hidden_layers: 26,
    num_key_value_heads: 4,
    pad_token_id: 0,
    query_pre_attn_scalar: 256,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    sliding_window: 4096,
    torch_dtype: "float32",
    transformers_version: "4.42.4",
    use_cache: true,
    vocab_size: 256000,
  },
};

test("published files are read as the presets of their names", () => {
  for (const [name, json] of Object.entries(hub)) assert.deepEqual(llamaConfigFromJson(json), llamaConfig(name), name);
  const gpt2 = hub["gpt2"] ?? {};
  // transformers knows a size by either name; two that differ are refused, and so are two shares of dropout.
  assert.deepEqual(llamaConfigFromJson({ ...gpt2, n_head: undefined, num_attention_heads: 12 }), llamaConfig("gpt2"));
  assert.throws(() => llamaConfigFromJson({ ...gpt2, hidden_size: 512 }), /hidden_size: expected 768, got 512/);
  assert.throws(() => llamaConfigFromJson({ ...gpt2, embd_pdrop: 0 }), /embd_pdrop: expected 0.1, as resid_pdrop is/);
  assert.throws(() => llamaConfigFromJson({ ...gpt2, scale_attn_by_inverse_layer_idx: true }), FormatError);
  // As the first files were published.
  const { hidden_size, n_head, ...first } = { ...hub["bloom-560m"] };
  const older = { ...first, n_embed: hidden_size, num_attention_heads: n_head };
  assert.deepEqual(llamaConfigFromJson(older), llamaConfigFromJson(hub["bloom-560m"]));
  assert.throws(() => llamaConfigFromJson({ ...older, hidden_size: 64 }), /hidden_size: expected 1024/);
  assert.throws(() => llamaConfigFromJson({ ...hub["bloom-560m"], hidden_dropout: 0.1 }), /hidden_dropout/);
  assert.throws(() => llamaConfigFromJson({ ...hub["bloom-560m"], n_inner: 1024 }), /n_inner: expected 4096/);
});

/** As their model cards on the Hugging Face Hub have them; those of BLOOM, GPT-2 and Gemma are what `transformers` counts. */
const published: Readonly<Record<string, number>> = {
  "llama-7b": 6_738_415_616,
  "llama-13b": 13_015_864_320,
  "llama-33b": 32_528_943_616,
  "llama-65b": 65_285_660_672,
  "llama-2-7b": 6_738_415_616,
  "llama-2-13b": 13_015_864_320,
  "llama-2-70b": 68_976_648_192,
  "llama-3-8b": 8_030_261_248,
  "llama-3-70b": 70_553_706_496,
  "llama-3.1-8b": 8_030_261_248,
  "llama-3.1-70b": 70_553_706_496,
  "llama-3.1-405b": 405_853_388_800,
  "llama-3.2-1b": 1_235_814_400,
  "llama-3.2-3b": 3_212_749_824,
  "tinyllama-1.1b": 1_100_048_384,
  "smollm2-135m": 134_515_008,
  "smollm2-360m": 361_821_120,
  "smollm2-1.7b": 1_711_376_384,
  gpt2: 124_439_808,
  "gpt2-medium": 354_823_168,
  "gpt2-large": 774_030_080,
  "gpt2-xl": 1_557_611_200,
  "bloom-560m": 559_214_592,
  "bloom-1b1": 1_065_314_304,
  "bloom-1b7": 1_722_408_960,
  "bloom-3b": 3_002_557_440,
  "bloom-7b1": 7_069_016_064,
  bloom: 176_247_271_424,
  "gemma-2-2b": 2_614_341_888,
  "gemma-2-9b": 9_241_705_984,
  "gemma-2-27b": 27_227_128_320,
};

for (const [name, count] of Object.entries(published))
  test(`${name} has ${count} parameters, counted from shapes without memory`, () => {
    const config = llamaConfig(name);
    assert.equal(parameterCount(config), count);
    if (config.numHiddenLayers > 40) return;
    // Layer by layer too: nothing is drawn, or this would not fit.
    const shapes = [...weightShapes(llama(config)).values()];
    assert.equal(
      shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0),
      count,
    );
  });

test("every preset that is no toy has its published count", () => {
  assert.deepEqual(
    Object.keys(published).sort(),
    Object.keys(llamaPresets)
      .filter((n) => !/tiny$|bench$/.test(n))
      .sort(),
  );
});
