/** The functions of which a LLaMA is made, over plain tensors. */

import {
  add,
  ArgumentError,
  div,
  dot,
  equal,
  exp,
  iota,
  type Key,
  logSumExp,
  mean,
  mul,
  neg,
  random,
  rsqrt,
  square,
  sub,
  sum,
  type Tensor,
  where,
} from "sinan";

/** What a call of a model needs beside its input: whether it trains, and the key of its random numbers if it does. */
export interface Context {
  readonly train?: boolean;
  readonly key?: Key | null;
}

/** A weight as Hugging Face stores it. */
export interface Weight {
  readonly weight: Tensor;
}

/** `x [..., in]` times the transpose of `weight [out, in]`: `[..., out]`. */
export const linear = (x: Tensor, { weight }: Weight): Tensor => dot(x, weight, { contract: [[x.rank - 1], [1]] });

/** `x / sqrt(mean(x²) + epsilon) · weight` over the last axis (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4).
 *  @param x  `[..., dim]`, weight `[dim]` */
export const rmsNorm = (x: Tensor, { weight }: Weight, epsilon: number): Tensor =>
  mul(mul(x, rsqrt(add(mean(square(x), -1, { keepDims: true }), epsilon))), weight);

/** `x · sigmoid(x)`. */
export const silu = (x: Tensor): Tensor => div(x, add(exp(neg(x)), 1));

/** Zeroes each element with the given probability and scales the others so that the mean stays. */
export function dropout(x: Tensor, probability: number, key: Key): Tensor {
  const keep = 1 - probability;
  return where(random.bernoulli(key, keep, x.dims), div(x, keep), 0);
}

/** The mean over tokens of −log softmax(logits)[target].
 *  @param logits   `[..., vocabulary]`, float
 *  @param targets  `[...]`, i32; an id outside the vocabulary counts as a logit of 0 */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  const at = iota(logits.dims, logits.rank - 1);
  const chosen = sum(where(equal(at, targets.expandDims(-1)), logits, 0), -1);
  return mean(sub(logSumExp(logits, -1), chosen));
}

/** The key of a part of a model: that of the whole, folded with the part's path, so that a layer draws the same numbers
 *  whatever stands around it. */
export const keyAt = (key: Key, path: string): Key => random.fold(key, fnv1a(path));

/** Fowler, Noll & Vo: a 32-bit hash of short names. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** The key of a training call with dropout; null where none is needed.
 *  @throws ArgumentError if it is missing */
export function dropoutKey(probability: number, { train = false, key = null }: Context): Key | null {
  if (!train || probability === 0) return null;
  if (key === null) throw new ArgumentError("a model with dropout needs a key to train: { train: true, key: key(seed) }");
  return key;
}
