/** Causal attention with grouped queries, on a cache of earlier keys and values or without one. */

import { add, type Dim, iota, less, mul, nn, reshape, scatter, type Tensor, transpose, where } from "sinan";
import type { LlamaConfig } from "../config.ts";
import { plainLinear, type Projection } from "./projection.ts";

/** cos and sin of the positions of a call, `[time, headDim]` each, or `[batch, 1, time, headDim]` where rows differ. */
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
  readonly rope: RopeTables;
  /** null where the sequence begins with this call. */
  readonly past: Past | null;
}

export interface LayerOutput {
  /** Like the input's x. */
  readonly x: Tensor;
  /** The cache with this call's keys and values in it, where the input had one. */
  readonly cache: LayerCache | null;
}

export const attention = ({
  hiddenSize,
  numAttentionHeads: heads,
  numKeyValueHeads: groups,
  headDim,
  initializerRange,
  numHiddenLayers,
}: LlamaConfig) =>
  nn.module(
    "attention",
    {
      q_proj: plainLinear(hiddenSize, heads * headDim, initializerRange),
      k_proj: plainLinear(hiddenSize, groups * headDim, initializerRange),
      v_proj: plainLinear(hiddenSize, groups * headDim, initializerRange),
      o_proj: plainLinear(heads * headDim, hiddenSize, initializerRange / Math.sqrt(2 * numHiddenLayers)),
      heads,
      groups,
      headDim,
    },
    attend,
  );

interface Attention {
  readonly q_proj: Projection;
  readonly k_proj: Projection;
  readonly v_proj: Projection;
  readonly o_proj: Projection;
  readonly heads: number;
  readonly groups: number;
  readonly headDim: number;
}

function attend(self: Attention, { x, rope, past }: LayerInput): LayerOutput {
  const { heads, groups, headDim } = self;
  const [batch, time] = x.dims as [Dim, Dim];
  const split = (y: Tensor, n: number): Tensor => transpose(reshape(y, [batch, time, n, headDim]), [0, 2, 1, 3]);
  const turn = (y: Tensor): Tensor => nn.rope(y, rope.cos, rope.sin);

  const q = turn(split(self.q_proj(x), heads));
  const k = turn(split(self.k_proj(x), groups));
  const v = split(self.v_proj(x), groups);
  const cache = past && {
    key: written(past.cache.key, past.positions, k),
    value: written(past.cache.value, past.positions, v),
  };
  const mixed =
    past && cache
      ? nn.scaledDotProductAttention(q, cache.key, cache.value, { causal: true, kvLengths: past.end })
      : nn.scaledDotProductAttention(q, k, v, { causal: true });
  return { x: self.o_proj(reshape(transpose(mixed, [0, 2, 1, 3]), [batch, time, heads * headDim])), cache };
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
