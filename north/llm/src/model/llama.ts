/** The LLaMA as a module: a function of token ids that is also the tree of its weights. The paths of that tree are the names
 *  of Hugging Face (`model.layers.0.self_attn.q_proj.weight`), so that reading and writing checkpoints is a walk. Its layers
 *  have one shape, so they go through a `region`: traced, differentiated and compiled once however many there are. */

import { type Dim, nn, region, ShapeError, type Tensor, type TreeNode, treeNode } from "sinan";
import type { LlamaConfig } from "../config.ts";
import type { LayerCache, LayerInput, LayerOutput, Past, RopeTables } from "./attention.ts";
import { decoderLayer } from "./layer.ts";

/** A LLaMA, its weights to be drawn by `init(key)` or read from a file. Called with ids i32 `[batch, time]`, it gives logits
 *  `[batch, time, vocabulary]`; a ShapeError for ids of other rank, or longer than its positions.
 *
 *  Matrices begin normal with `initializerRange`, less by √(2 · layers) where a residual branch ends (Radford et al. 2019,
 *  "Language Models are Unsupervised Multitask Learners", §2.3); norms begin as ones.
 *
 *  @example const model = llama(llamaConfig("llama-tiny")).init(key(0)); */
export const llama = (config: LlamaConfig) => {
  const { vocabSize, hiddenSize, numHiddenLayers } = config;
  const initializer = nn.initializers.normal({ std: config.initializerRange });
  return nn.module(
    "llama",
    {
      config: asPart(config),
      model: {
        embed_tokens: nn.embedding(vocabSize, hiddenSize, { initializer }),
        embedding_dropout: nn.dropout(config.dropout),
        layers: Array.from({ length: numHiddenLayers }, () => decoderLayer(config)),
        norm: nn.rmsNorm(hiddenSize, { epsilon: config.rmsNormEps }),
      },
      lm_head: config.tieWordEmbeddings ? null : nn.linear(hiddenSize, vocabSize, { bias: false, initializer }),
    },
    logits,
  );
};

export type Llama = ReturnType<typeof llama>;

/** The configuration as a part of the module: no leaf of its tree, but what a trace depends on. Trees take an object apart
 *  if it is a plain one, so this one has a prototype. */
const asPart = (config: LlamaConfig): LlamaConfig & TreeNode => Object.assign(Object.create(part) as TreeNode, config);

const part: TreeNode = {
  get [treeNode]() {
    return { children: {}, rebuild: () => this, key: JSON.stringify(this) };
  },
};

interface Parts {
  readonly config: LlamaConfig;
  readonly model: {
    readonly embed_tokens: nn.Layer & { readonly weight: Tensor };
    readonly embedding_dropout: nn.Layer;
    readonly layers: readonly nn.Layer<LayerInput, LayerOutput>[];
    readonly norm: nn.Layer;
  };
  readonly lm_head: nn.Layer | null;
}

const logits = (self: Parts, ids: Tensor, ctx: nn.Context): Tensor => head(self, trunk(self, ids, ctx).x);

/** The mean cross entropy, in nats, of `targets` i32 `[batch, time]` after `inputs` of that shape.
 *  @throws ShapeError
 *  @example loss(model, ids.at(slice(), slice(0, -1)), ids.at(slice(), slice(1)), { train: true, key }) */
export const loss = (model: Llama, inputs: Tensor, targets: Tensor, ctx?: nn.Context): Tensor =>
  nn.crossEntropy(model(inputs, ctx), targets);

/** Where a call continues sequences: one cache a layer, the call's positions and their tables. */
export interface Continuation extends Pick<Past, "positions" | "end"> {
  readonly rope: RopeTables;
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
  ids: Tensor,
  ctx: nn.Context,
  past?: Continuation,
): { x: Tensor; caches: readonly LayerCache[] } {
  const [, time] = ids.dims;
  if (ids.rank !== 2 || time === undefined || !["i32", "u32"].includes(ids.dtype))
    throw new ShapeError(`llama: expected ids i32[batch, time], got ${ids.dtype}[${String(ids.dims)}]`);
  if (typeof time === "number" && time > config.maxPositionEmbeddings)
    throw new ShapeError(`llama: ${time} tokens are longer than the model's ${config.maxPositionEmbeddings} positions`);
  const rope = past?.rope ?? ropeTables(config, lengthOf(time), model.embed_tokens.weight);
  const caches: LayerCache[] = [];
  let x = model.embedding_dropout(model.embed_tokens(ids), ctx);
  model.layers.forEach((layer, i) => {
    const cache = past?.caches[i];
    const before = past && cache ? { positions: past.positions, end: past.end, cache } : null;
    const inside = config.dropout > 0 ? nn.contextAt(ctx, `model.layers.${i}`) : { train: ctx.train };
    const after = block(layer, { x, rope, past: before }, inside);
    x = after.x;
    if (after.cache) caches.push(after.cache);
  });
  return { x: model.norm(x), caches };
}

/** Tables are made of numbers. */
function lengthOf(time: Dim): number {
  if (typeof time === "number") return time;
  throw new ShapeError("llama: a sequence of symbolic length needs tables of its positions", {
    hint: "give them as `past.rope`",
  });
}

/** Logits of the trunk's output. */
export const head = ({ model, lm_head }: Parts, x: Tensor): Tensor =>
  lm_head ? lm_head(x) : nn.functional.linear(x, model.embed_tokens.weight);

/** The tables of positions 0 to `length` − 1, in the dtype of a weight. */
export const ropeTables = ({ headDim, ropeTheta }: LlamaConfig, length: number, { dtype }: Tensor): RopeTables =>
  nn.ropeTables(length, headDim, { theta: ropeTheta, dtype });
