/** Causal attention with grouped queries (Ainslie et al. 2023, arXiv:2305.13245), by its plain definition. Keys and values
 *  are never repeated: the queries of a group stand on an axis of their own.
 *
 *  Axes: b batch, g group (a head of keys and values), r queries of a group, t time, s time of keys, d head. */

import { arange, dot, expandDims, iota, less, mul, reshape, scatter, softmax, type Tensor, transpose, where } from "sinan";
import type { LlamaConfig } from "../config.ts";
import { linear, type Weight } from "./functions.ts";
import { type RopeTables, rotate } from "./rope.ts";

export interface AttentionWeights {
  readonly q_proj: Weight;
  readonly k_proj: Weight;
  readonly v_proj: Weight;
  readonly o_proj: Weight;
}

/** Keys and values of the positions so far, `[b, g, capacity, d]` each; keys are already turned by their position. */
export interface LayerCache {
  readonly key: Tensor;
  readonly value: Tensor;
}

/** Where a call continues a sequence. */
export interface Past {
  /** The positions of this call's tokens, i32 `[t]`. */
  readonly positions: Tensor;
  readonly cache: LayerCache;
}

/** @param x     `[b, t, hidden]`
 *  @param rope  the tables of the call's positions
 *  @param past  what came before; without it, the sequence begins here
 *  @returns the output like x, and the cache with this call's keys and values in it */
export function attention(
  { numAttentionHeads, numKeyValueHeads: groups, headDim }: LlamaConfig,
  weights: AttentionWeights,
  x: Tensor,
  rope: RopeTables,
  past: Past | null,
): { output: Tensor; cache: LayerCache | null } {
  const [batch, time] = x.shape as [number, number];
  const perGroup = numAttentionHeads / groups;
  /** `[b, t, groups · n · d]` → `[b, g, n, t, 2, d / 2]` */
  const heads = (y: Tensor, n: number): Tensor =>
    transpose(reshape(y, [batch, time, groups, n, 2, headDim / 2]), [0, 2, 3, 1, 4, 5]);

  const q = reshape(mul(rotate(heads(linear(x, weights.q_proj), perGroup), rope), headDim ** -0.5), [batch, groups, perGroup, time, headDim]);
  const k = reshape(rotate(heads(linear(x, weights.k_proj), 1), rope), [batch, groups, time, headDim]);
  const v = transpose(reshape(linear(x, weights.v_proj), [batch, time, groups, headDim]), [0, 2, 1, 3]);
  const cache = past && {
    key: scatter(past.cache.key, past.positions, k, { axis: 2, mode: "set" }),
    value: scatter(past.cache.value, past.positions, v, { axis: 2, mode: "set" }),
  };
  const { key, value } = cache ?? { key: k, value: v };

  const scores = dot(q, key, { contract: [[4], [3]], batch: [[0, 1], [0, 1]] }); // [b, g, r, t, s]
  const inFuture = less(expandDims(past?.positions ?? arange(time), 1), iota([time, key.shape[2] as number], 1));
  const mixed = dot(softmax(where(inFuture, Number.NEGATIVE_INFINITY, scores)), value, { contract: [[4], [2]], batch: [[0, 1], [0, 1]] });
  const joined = reshape(transpose(mixed, [0, 3, 1, 2, 4]), [batch, time, numAttentionHeads * headDim]);
  return { output: linear(joined, weights.o_proj), cache };
}
