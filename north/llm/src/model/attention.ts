/** Causal attention with grouped queries, on a cache of earlier keys and values or without one. */

import {
  add,
  concat,
  type Dim,
  iota,
  less,
  mul,
  nn,
  reshape,
  scatter,
  slice,
  type Tensor,
  transpose,
  where,
} from "sinan";
import type { LlamaConfig } from "../config.ts";
import { norm } from "./norm.ts";
import { plainAttention } from "./plain-attention.ts";
import { type ModelOptions, projection, type Projection } from "./projection.ts";

/** cos and sin of the positions of a call, `[time, turning]` each, or `[batch, 1, time, turning]` where rows differ. */
export interface RopeTables {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** Keys and values of the positions so far, `[batch, groups, capacity, headDim]` each; keys are turned by their position. */
export interface LayerCache {
  readonly key: Tensor;
  readonly value: Tensor;
}

/** Where a call continues sequences, each at a place of its own: its positions follow those of the cache. */
export interface Past {
  /** The positions of this call's tokens, i32 `[batch, time]`; what is outside of the cache is not kept. */
  readonly positions: Tensor;
  /** How many places of a row's cache are taken with this call's, i32 `[batch]`. */
  readonly end: Tensor;
  readonly cache: LayerCache;
}

export interface LayerInput {
  /** `[batch, time, hidden]` */
  readonly x: Tensor;
  /** null where nothing turns. */
  readonly rope: RopeTables | null;
  /** The first key that each query sees, i32 `[batch, time]` or `[1, time]`; null where it is the first there is. */
  readonly starts: Tensor | null;
  /** Added to the scores, `[batch or 1, heads, 1, keys]`; null where nothing is. */
  readonly bias: Tensor | null;
  /** null where the sequence begins with this call. */
  readonly past: Past | null;
}

export interface LayerOutput {
  /** Like the input's x. */
  readonly x: Tensor;
  /** The cache with this call's keys and values in it, where the input had one. */
  readonly cache: LayerCache | null;
}

export const attention = (config: LlamaConfig, options: ModelOptions) => {
  const {
    hiddenSize,
    numAttentionHeads: heads,
    numKeyValueHeads: groups,
    headDim,
    initializerRange: std,
    numHiddenLayers,
    qkvBias: bias,
    outputBias,
    qkNorm,
  } = config;
  const normed = (count: number): nn.Layer | null =>
    qkNorm === "none" ? null : norm(config, qkNorm === "head" ? headDim : count * headDim);
  return nn.module(
    "attention",
    {
      q_proj: projection(hiddenSize, heads * headDim, { ...options, std, bias }),
      k_proj: projection(hiddenSize, groups * headDim, { ...options, std, bias }),
      v_proj: projection(hiddenSize, groups * headDim, { ...options, std, bias }),
      o_proj: projection(heads * headDim, hiddenSize, {
        ...options,
        std: std / Math.sqrt(2 * numHiddenLayers),
        bias: outputBias,
      }),
      q_norm: normed(heads),
      k_norm: normed(groups),
      normsHeads: qkNorm === "head",
      heads,
      groups,
      headDim,
      scale: config.attentionScale ?? 1 / Math.sqrt(headDim),
      softcap: config.attentionSoftcap,
      weights_dropout: nn.dropout(config.attentionDropout),
    },
    attend,
  );
};

interface Attention {
  readonly q_proj: Projection;
  readonly k_proj: Projection;
  readonly v_proj: Projection;
  readonly o_proj: Projection;
  readonly q_norm: nn.Layer | null;
  readonly k_norm: nn.Layer | null;
  readonly normsHeads: boolean;
  readonly heads: number;
  readonly groups: number;
  readonly headDim: number;
  readonly scale: number;
  readonly softcap: number | null;
  readonly weights_dropout: nn.Dropout;
}

function attend(self: Attention, { x, rope, starts, bias, past }: LayerInput, ctx: nn.Context): LayerOutput {
  const { heads, groups, headDim, normsHeads, scale, softcap, weights_dropout: dropout } = self;
  const [batch, time] = x.dims as [Dim, Dim];
  const split = (y: Tensor, n: number): Tensor => reshape(y, [batch, time, n, headDim]);
  const apart = (y: Tensor): Tensor => transpose(y, [0, 2, 1, 3]);
  // What is computed of a token lies together still, and so does its gradient, which products read.
  const ready = (y: Tensor, n: number, normed: nn.Layer | null): Tensor => {
    if (!normed) return apart(turned(split(y, n), rope));
    return apart(turned(normsHeads ? normed(split(y, n)) : split(normed(y), n), rope));
  };

  const q = ready(self.q_proj(x), heads, self.q_norm);
  const k = ready(self.k_proj(x), groups, self.k_norm);
  const v = apart(split(self.v_proj(x), groups));
  const cache = past && {
    key: written(past.cache.key, past.positions, k),
    value: written(past.cache.value, past.positions, v),
  };
  const [keys, values] = cache ? [cache.key, cache.value] : [k, v];
  const mixed =
    softcap !== null || (ctx.train && dropout.probability > 0)
      ? plainAttention(q, keys, values, {
          scale,
          softcap,
          places: past ? past.positions : reshape(iota([time], 0), [1, time]),
          starts,
          bias,
          drop: (weights) => dropout(weights, ctx),
        })
      : nn.scaledDotProductAttention(q, keys, values, {
          causal: true,
          scale,
          ...(starts ? { kvStarts: starts } : {}),
          ...(bias ? { mask: bias } : {}),
          ...(past ? { kvLengths: past.end } : {}),
        });
  return { x: self.o_proj(reshape(apart(mixed), [batch, time, heads * headDim])), cache };
}

/** Heads `[batch, time, heads, headDim]` turned by their positions: all of a head, or its first elements. */
function turned(y: Tensor, rope: RopeTables | null): Tensor {
  if (!rope) return y;
  const size = rope.cos.dims.at(-1) as number;
  const [cos, sin] = [rope.cos, rope.sin].map((table) => {
    const time = table.dims.at(-2) as Dim;
    return reshape(table, [...table.dims.slice(0, -3), time, 1, size]);
  }) as [Tensor, Tensor];
  const all = slice();
  if (size === y.dims.at(-1)) return nn.rope(y, cos, sin);
  const [first, rest] = [slice(0, size), slice(size)].map((part) => y.at(all, all, all, part)) as [Tensor, Tensor];
  return concat([nn.rope(first, cos, sin), rest], -1);
}

/** A cache `[batch, groups, capacity, headDim]` with `[batch, groups, time, headDim]` at the positions `[batch, time]`. */
function written(cache: Tensor, positions: Tensor, values: Tensor): Tensor {
  const [batch, groups, capacity, headDim] = cache.shape as [number, number, number, number];
  const [, time] = positions.dims as [Dim, Dim];
  const each = reshape(positions, [batch, 1, time]);
  const line = reshape(iota([batch * groups], 0), [batch, groups, 1]);
  // All rows of all heads in one line; what is outside of its own must be outside of all.
  const places = where(less(each, capacity), add(mul(line, capacity), each), -1);
  const lines = scatter(
    reshape(cache, [batch * groups * capacity, headDim]),
    reshape(places, [-1]),
    reshape(values, [-1, headDim]),
    { mode: "set" },
  );
  return reshape(lines, [batch, groups, capacity, headDim]);
}
