/** Interpolated Kneser-Ney n-gram models over token ids: what counting alone can do, to be beaten by a trained model.
 *
 *    p(w | u v) = max(c(u v w) - D3, 0) / c(u v .)  +  D3 t(u v .) / c(u v .) * p(w | v)        t = distinct followers
 *
 *  Only the highest order counts occurrences; below it, c(v w) is the number of distinct tokens seen before `v w`, so a
 *  word that only ever follows one other is not expected elsewhere. The last step below the unigram is 1 / vocabSize, so
 *  every id has a probability and they sum to 1. A context never seen leaves the whole mass to the next lower order.
 *  Source: Kneser & Ney 1995; Chen & Goodman 1998 (TR-10-98), section 2.7 and, for one discount per order,
 *  D = n1 / (n1 + 2 n2), equation 13. */

import { ArgumentError } from "sinan";
import { PairTable } from "../tokenizer/pair-table.ts";

/** Order of a model: how many tokens an n-gram has. */
export type NgramOrder = 1 | 2 | 3;

/** The order and the vocabulary. */
export interface NgramOptions {
  readonly order: NgramOrder;
  /** Ids are 0 to vocabSize - 1. */
  readonly vocabSize: number;
  /** Discounts of the orders 1 to `order`, from 0 to 1. Default: estimated from the counts. */
  readonly discounts?: readonly number[];
}

/** Probabilities of a token after others. */
export interface NgramModel {
  readonly order: NgramOrder;
  /** The discount used at each order, from 1 up. */
  readonly discounts: readonly number[];
  /** Probability of an id after a context, of which the last `order - 1` ids count.
   *  @throws ArgumentError for ids outside the vocabulary */
  probability(id: number, context?: ArrayLike<number>): number;
  /** Sum of `-ln p` over a sequence, in nats; the first tokens are predicted from what context there is.
   *  @throws ArgumentError for ids outside the vocabulary */
  negativeLogLikelihood(ids: ArrayLike<number>): number;
}

/** Counts of one order: of each n-gram, and of each context the sum and the number of distinct followers. */
interface Level {
  readonly discount: number;
  readonly counts: Counts;
  readonly sums: Counts;
  readonly followers: Counts;
}

/** Trains a model by one pass over the ids.
 *
 *  @throws ArgumentError if `ids` is empty or holds an id outside the vocabulary, or an option is out of its range
 *  @example kneserNey([0, 1, 0, 1, 0], { order: 2, vocabSize: 3 }).probability(1, [0]) */
export function kneserNey(ids: ArrayLike<number>, options: NgramOptions): NgramModel {
  const { order, vocabSize } = options;
  checkOptions(ids, options);
  const check = (id: number): number => {
    if (Number.isInteger(id) && id >= 0 && id < vocabSize) return id;
    throw new ArgumentError(`kneserNey: expected an id from 0 to ${vocabSize - 1}, got ${id}`, {
      hint: "The ids and vocabSize must come from one tokenizer.",
    });
  };

  // An n-gram's index is that of the pair (index of its first n - 1 tokens, last token). The suffix of a trigram, the
  // bigram of its last two, is known from the step before.
  const bigrams = new PairTable(1 << 12);
  const trigrams = new PairTable(1 << 12);
  const unigram = new Counts();
  const bigram = new Counts();
  const trigram = new Counts();
  let previous = -1;
  let previousBigram = -1;
  for (let i = 0; i < ids.length; i++) {
    const id = check(ids[i] ?? -1);
    if (order === 1) unigram.add(id);
    let here = -1;
    if (order > 1 && previous >= 0) {
      const known = bigrams.size;
      here = bigrams.add(previous, id);
      if (here === known) unigram.add(id);
      if (order === 2) bigram.add(here);
    }
    if (order > 2 && previousBigram >= 0) {
      const known = trigrams.size;
      const index = trigrams.add(previousBigram, id);
      if (index === known) bigram.add(here);
      trigram.add(index);
    }
    previous = id;
    previousBigram = here;
  }

  const level = (n: number, counts: Counts, size: number, contextOf: (index: number) => number): Level => {
    const sums = new Counts();
    const followers = new Counts();
    let once = 0;
    let twice = 0;
    for (let index = 0; index < size; index++) {
      const count = counts.of(index);
      if (count === 0) continue;
      const context = contextOf(index);
      sums.add(context, count);
      followers.add(context);
      if (count === 1) once++;
      if (count === 2) twice++;
    }
    return { discount: options.discounts?.[n - 1] ?? estimate(once, twice), counts, sums, followers };
  };
  const one = level(1, unigram, vocabSize, () => 0);
  const two = level(2, bigram, bigrams.size, (index) => bigrams.left(index));
  const three = level(3, trigram, trigrams.size, (index) => trigrams.left(index));

  /** p(id | u, v); a context token of -1 is one that is not there. */
  const score = (u: number, v: number, id: number): number => {
    let p = interpolate(one, 0, id, 1 / vocabSize);
    if (order > 1 && v >= 0) p = interpolate(two, v, bigrams.find(v, id), p);
    const context = order > 2 && u >= 0 && v >= 0 ? bigrams.find(u, v) : -1;
    return context >= 0 ? interpolate(three, context, trigrams.find(context, id), p) : p;
  };

  return {
    order,
    discounts: [one, two, three].slice(0, order).map(({ discount }) => discount),
    probability(id, context = []) {
      const at = (back: number): number => (context.length < back ? -1 : check(context[context.length - back] ?? -1));
      return score(at(2), at(1), check(id));
    },
    negativeLogLikelihood(sequence) {
      let nats = 0;
      let u = -1;
      let v = -1;
      for (let i = 0; i < sequence.length; i++) {
        const id = check(sequence[i] ?? -1);
        nats -= Math.log(score(u, v, id));
        u = v;
        v = id;
      }
      return nats;
    },
  };
}

/** One order's estimate over that of the order below. `index` is -1 for an n-gram that was never seen. */
function interpolate(
  { discount, counts, sums, followers }: Level,
  context: number,
  index: number,
  lower: number,
): number {
  const sum = sums.of(context);
  if (sum === 0) return lower;
  const count = index < 0 ? 0 : counts.of(index);
  return (Math.max(count - discount, 0) + discount * followers.of(context) * lower) / sum;
}

/** Chen & Goodman's estimate. Where nothing was seen exactly once it would leave no mass for the unseen: one half then. */
function estimate(once: number, twice: number): number {
  return once > 0 ? once / (once + 2 * twice) : 0.5;
}

/** Whole numbers by index, zero until something is added. */
class Counts {
  #values = new Int32Array(1024);

  of(index: number): number {
    return this.#values[index] ?? 0;
  }

  add(index: number, by = 1): void {
    if (index >= this.#values.length) {
      const grown = new Int32Array(Math.max(this.#values.length * 2, index + 1));
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[index] = this.of(index) + by;
  }
}

function checkOptions(ids: ArrayLike<number>, { order, vocabSize, discounts }: NgramOptions): void {
  if (![1, 2, 3].includes(order)) {
    throw new ArgumentError(`kneserNey: order must be 1, 2 or 3, got ${order}`);
  }
  if (!Number.isSafeInteger(vocabSize) || vocabSize < 1 || vocabSize > 2 ** 30) {
    throw new ArgumentError(`kneserNey: vocabSize must be an integer from 1 to ${2 ** 30}, got ${vocabSize}`);
  }
  if (ids.length === 0) {
    throw new ArgumentError("kneserNey: expected at least one training id, got none", { hint: "Is the corpus empty?" });
  }
  if (discounts && (discounts.length !== order || discounts.some((discount) => !(discount >= 0 && discount <= 1)))) {
    throw new ArgumentError(`kneserNey: expected ${order} discounts from 0 to 1, got [${discounts.join(", ")}]`);
  }
}
