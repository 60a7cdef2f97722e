/** The three figures that a language model is printed beside: unigram, bigram and trigram on the same tokens. */

import { ArgumentError } from "sinan";
import { bitsPerByte } from "./bits-per-byte.ts";
import { kneserNey } from "./kneser-ney.ts";
import type { NgramOrder } from "./kneser-ney.ts";

/** The vocabulary, and the length of the held-out text. */
export interface BaselineOptions {
  /** Ids are 0 to vocabSize - 1. */
  readonly vocabSize: number;
  /** UTF-8 bytes of the text that the held-out ids stand for. */
  readonly heldOutBytes: number;
}

/** Bits per byte of the held-out text. */
export interface Baselines {
  /** Unigram counts, discounted and interpolated with the uniform distribution. */
  readonly unigram: number;
  /** Interpolated Kneser-Ney, order 2. */
  readonly bigram: number;
  /** Interpolated Kneser-Ney, order 3. */
  readonly trigram: number;
}

/** Trains n-gram models on some ids and measures them on others. Every held-out id is predicted, each from all the
 *  held-out ids before it that the model can use.
 *
 *  @throws ArgumentError if either list is empty, an id is outside the vocabulary or `heldOutBytes` is not above zero
 *  @example baselines(train, heldOut, { vocabSize: tokenizer.vocabSize, heldOutBytes }).trigram */
export function baselines(
  trainIds: ArrayLike<number>,
  heldOutIds: ArrayLike<number>,
  { vocabSize, heldOutBytes }: BaselineOptions,
): Baselines {
  const tokens = heldOutIds.length;
  if (tokens === 0) throw new ArgumentError("baselines: expected at least one held-out id, got none");
  const measure = (order: NgramOrder): number => {
    const nats = kneserNey(trainIds, { order, vocabSize }).negativeLogLikelihood(heldOutIds);
    return bitsPerByte(nats / tokens, tokens, heldOutBytes);
  };
  return { unigram: measure(1), bigram: measure(2), trigram: measure(3) };
}
