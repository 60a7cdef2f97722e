/** From logits to the next token, on the device. The arithmetic is that of the logits processors of `transformers`, in their order, on
 *  f32: what they remove becomes −∞. */
import {
  add,
  argmax,
  cast,
  cumsum,
  div,
  equal,
  greaterEqual,
  less,
  lessEqual,
  logSoftmax,
  max,
  minimum,
  mul,
  type Operand,
  random,
  reshape,
  softmax,
  sort,
  sub,
  sum,
  take,
  takeAlongAxis,
  type Tensor,
  topK,
  vmap,
  where,
} from "sinan";

/** What is done to logits before a token is taken; null for what is not done, so that a step is compiled without it. */
export interface Processing {
  readonly penalty: Operand | null;
  /** null takes the likeliest token. */
  readonly draw: {
    readonly temperature: Operand;
    readonly topK: Operand | null;
    /** 1 − p, rounded once. */
    readonly tail: Operand | null;
    readonly minP: Operand | null;
  } | null;
}

/** Of each row: where it is in its text, and its key, u32 `[rows]` and `[rows, 2]`. */
export interface Place {
  readonly position: Tensor;
  readonly keys: Tensor;
}

export interface Chosen {
  /** i32 `[rows]`; the size of the vocabulary where a logit is NaN. */
  readonly token: Tensor;
  /** f32 `[rows]` and `[rows, n]`, the latter with its tokens. */
  readonly logprobs: { readonly chosen: Tensor; readonly top: Tensor; readonly ids: Tensor } | null;
}

/** @param logits   `[rows, vocabulary]`
 *  @param place    where something is drawn
 *  @param seen     bool like the logits: tokens that a row has already; where there is a penalty
 *  @param logprobs how many of the likeliest are told with the chosen one; null for not even that */
export function choose(
  given: Tensor,
  processing: Processing,
  place: Place | null,
  seen: Tensor | null,
  logprobs: number | null,
): Chosen {
  const logits = widened(given);
  const scores = processed(logits, processing, seen);
  // The largest of scores + Gumbel noise is a draw from their softmax (Gumbel 1954; Maddison et al. 2014, §2).
  const noisy =
    processing.draw && place ? add(scores, vmap(noise(scores.dims[1] as number))(place.keys, place.position)) : scores;
  const size = scores.dims[1] as number;
  const largest = max(logits, -1);
  const token = where(equal(largest, largest), argmax(noisy, -1), size);
  if (logprobs === null) return { token, logprobs: null };
  const all = logSoftmax(logits, -1);
  const best = topK(all, logprobs);
  const chosen = reshape(takeAlongAxis(all, reshape(token, [-1, 1]), 1), [-1]);
  return { token, logprobs: { chosen, top: best.values, ids: best.indices } };
}

const noise =
  (size: number) =>
  (key: Tensor, position: Tensor): Tensor =>
    random.gumbel(random.fold(key, position), [size]);

const widened = (x: Tensor): Tensor => (x.dtype === "f64" ? x : cast(x, "f32"));

/** Scores of which a token is taken. */
export function processed(logits: Tensor, { penalty, draw }: Processing, seen: Tensor | null): Tensor {
  let scores = logits;
  if (penalty !== null && seen) {
    const lessened = where(less(scores, 0), mul(scores, penalty), div(scores, penalty));
    scores = where(seen, lessened, scores);
  }
  if (!draw) return scores;
  scores = div(scores, draw.temperature);
  if (draw.topK !== null || draw.tail !== null) scores = likeliest(scores, draw.topK, draw.tail);
  if (draw.minP !== null) {
    const p = softmax(scores, -1);
    scores = where(greaterEqual(p, mul(max(p, -1, { keepDims: true }), draw.minP)), scores, lowest);
  }
  return scores;
}

const lowest = Number.NEGATIVE_INFINITY;

/** The k largest, and of those the fewest whose probabilities leave no more than `tail` to the others; with them what is as likely
 *  as the last of them. Both are ends of the sorted row. */
function likeliest(scores: Tensor, k: Operand | null, tail: Operand | null): Tensor {
  const size = scores.dims[1] as number;
  const { values } = sort(scores, -1);
  const from = (x: Tensor, least: Tensor): Tensor => where(less(x, least), lowest, x);
  let [sorted, kept] = [values, scores];
  if (k !== null) {
    const least = take(values, reshape(sub(size, cast(k, "i32")), [1]), 1);
    [sorted, kept] = [from(values, least), from(scores, least)];
  }
  if (tail === null) return kept;
  const removed = lessEqual(cumsum(softmax(sorted, -1), -1), tail);
  const first = minimum(sum(cast(removed, "i32"), -1, { keepDims: true }), size - 1);
  return from(kept, takeAlongAxis(values, first, 1));
}
