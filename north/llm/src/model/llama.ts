/** The decoder as a module: a function of token ids that is also the tree of its weights. The paths of that tree are the names
 *  of Hugging Face (`model.layers.0.self_attn.q_proj.weight`), so that reading and writing checkpoints is a walk. Its layers
 *  have one shape, so they go through a `region`: traced, differentiated and compiled once however many there are. */

import { add, mul, nn, region, ShapeError, tanh, type Tensor, type TreeNode, treeNode } from "sinan";
import type { LlamaConfig } from "../config.ts";
import type { LayerCache, LayerInput, LayerOutput, Past, RopeTables } from "./attention.ts";
import { decoderLayer } from "./layer.ts";
import { norm } from "./norm.ts";
import { longest, placed, type TokenInput } from "./positions.ts";
import { type ModelOptions, projection } from "./projection.ts";

/** A language model, its weights to be drawn by `init(key)` or read from a file. Called with ids i32 `[batch, time]`, or a record with
 *  the documents that they belong to, it gives logits `[batch, time, vocabulary]`; a ShapeError for ids of other rank, or longer than
 *  its positions.
 *
 *  Matrices begin normal with `initializerRange`, less by √(2 · layers) where a residual branch ends (Radford et al. 2019,
 *  "Language Models are Unsupervised Multitask Learners", §2.3); norms begin as ones, biases as zeros.
 *
 *  @example const model = llama(llamaConfig("llama-tiny")).init(key(0)); */
export const llama = (config: LlamaConfig, options: ModelOptions = {}) => {
  const { vocabSize, hiddenSize, numHiddenLayers, initializerRange: std, headBias: bias } = config;
  const initializer = nn.initializers.normal({ std });
  return nn.module(
    "llama",
    {
      config: asPart(config),
      model: {
        embed_tokens: nn.embedding(vocabSize, hiddenSize, { initializer }),
        embed_positions:
          config.position === "learned"
            ? nn.embedding(config.maxPositionEmbeddings, hiddenSize, { initializer })
            : null,
        embed_norm: config.embeddingNorm ? norm(config, hiddenSize) : null,
        embedding_dropout: nn.dropout(config.dropout),
        layers: Array.from({ length: numHiddenLayers }, () => decoderLayer(config, options)),
        norm: norm(config, hiddenSize),
      },
      lm_head: config.tieWordEmbeddings ? null : projection(hiddenSize, vocabSize, { ...options, std, bias }),
    },
    logits,
  );
};

/** A decoder with its parameters. */
export type Llama = ReturnType<typeof llama>;

/** The configuration as a part of the module: no leaf of its tree, but what a trace depends on. Trees take an object apart
 *  if it is a plain one, so this one has a prototype. */
function asPart(config: LlamaConfig): LlamaConfig & TreeNode {
  const part = Object.assign(Object.create(configured) as LlamaConfig, config);
  const value = { children: {}, rebuild: () => part, key: JSON.stringify(config), known: {} };
  return Object.defineProperty(part, treeNode, { value }) as LlamaConfig & TreeNode;
}

/** One for all: equal configurations have equal prototypes. */
const configured = {};

interface Parts {
  readonly config: LlamaConfig;
  readonly model: {
    readonly embed_tokens: nn.Layer & { readonly weight: Tensor };
    readonly embed_positions: nn.Layer | null;
    readonly embed_norm: nn.Layer | null;
    readonly embedding_dropout: nn.Layer;
    readonly layers: readonly nn.Layer<LayerInput, LayerOutput>[];
    readonly norm: nn.Layer;
  };
  readonly lm_head: nn.Layer | null;
}

const logits = (self: Parts, input: Tensor | TokenInput, ctx: nn.Context): Tensor =>
  head(self, trunk(self, input, ctx).x);

/** Where a call continues sequences: one cache a layer, the call's positions and their tables. */
export interface Continuation extends Pick<Past, "positions" | "end"> {
  readonly rope: RopeTables | null;
  readonly caches: readonly LayerCache[];
}

const block = region(
  (layer: nn.Layer<LayerInput, LayerOutput>, input: LayerInput, ctx: nn.Context): LayerOutput => layer(input, ctx),
  {
    name: "llamaLayer",
  },
);

/** The output `[batch, time, hidden]` of the last norm, and the caches with this call's keys and values. */
export function trunk(
  { config, model }: Parts,
  input: Tensor | TokenInput,
  ctx: nn.Context,
  past?: Continuation,
): { x: Tensor; caches: readonly LayerCache[] } {
  const given = "ids" in input ? input : { ids: input };
  const { ids } = given;
  const [, time] = ids.dims;
  if (ids.rank !== 2 || time === undefined || !["i32", "u32"].includes(ids.dtype))
    throw new ShapeError(`llama: expected ids i32[batch, time], got ${ids.dtype}[${String(ids.dims)}]`);
  if (typeof time === "number" && time > longest(config))
    throw new ShapeError(`llama: ${time} tokens are longer than the model's ${longest(config)} positions`);
  const { rope, positions, starts, windowed, bias } = placed(config, given, model.embed_tokens.weight, past);
  const caches: LayerCache[] = [];
  let x = scaled(model.embed_tokens(ids), config.embeddingScale);
  if (model.embed_positions) x = add(x, model.embed_positions(positions()));
  if (model.embed_norm) x = model.embed_norm(x);
  x = model.embedding_dropout(x, ctx);
  const draws = config.dropout > 0 || config.attentionDropout > 0;
  model.layers.forEach((layer, i) => {
    const cache = past?.caches[i];
    const before = past && cache ? { positions: past.positions, end: past.end, cache } : null;
    const inside = draws ? nn.contextAt(ctx, `model.layers.${i}`) : { train: ctx.train };
    const place = {
      rope: config.layersWithoutRope.includes(i) ? null : rope,
      starts: config.layersWithoutWindow.includes(i) ? starts : windowed,
      bias,
    };
    const after = block(layer, { x, ...place, past: before }, inside);
    x = after.x;
    if (after.cache) caches.push(after.cache);
  });
  return { x: model.norm(x), caches };
}

const scaled = (x: Tensor, by: number): Tensor => (by === 1 ? x : mul(x, by));

/** What the output layer is made of: one of its own, or the embedding. */
export interface HeadParts {
  readonly config: LlamaConfig;
  readonly model: { readonly embed_tokens: { readonly weight: Tensor } } | null;
  readonly lm_head: nn.Layer | null;
}

/** Logits of the trunk's output. */
export function head({ config, model, lm_head }: HeadParts, x: Tensor): Tensor {
  const y = scaled(
    lm_head ? lm_head(x) : nn.functional.linear(x, (model as NonNullable<typeof model>).embed_tokens.weight),
    config.logitScale,
  );
  const cap = config.logitSoftcap;
  return cap === null ? y : mul(tanh(mul(y, 1 / cap)), cap);
}

export { ropeTables } from "./positions.ts";
