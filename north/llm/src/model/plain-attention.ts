/** Attention over whole matrices of scores, for what the op that keeps tiles of them does not do: scores that are capped, weights
 *  that are dropped. */

import {
  add,
  and,
  cast,
  div,
  type Dim,
  iota,
  lessEqual,
  matmul,
  mul,
  reshape,
  softmax,
  tanh,
  type Tensor,
  transpose,
  where,
} from "sinan";

export interface PlainOptions {
  readonly scale: number;
  /** c in c · tanh(scores / c) (Gemma Team 2024, arXiv:2408.00118, §2); null for none. */
  readonly softcap: number | null;
  /** The place of each query among the keys, i32 `[batch, time]` or `[1, time]`: it sees those up to there. */
  readonly places: Tensor;
  /** The first key that each query sees, of such a shape; null where it is the first there is. */
  readonly starts: Tensor | null;
  /** Added to the scores, `[batch or 1, heads, 1, keys]`. */
  readonly bias: Tensor | null;
  /** What becomes of the weights `[batch, groups, heads / groups, time, keys]`. */
  readonly drop: (weights: Tensor) => Tensor;
}

/** What hides a score without becoming a NaN where all are hidden. */
const hidden = -1e30;

/** @param q  `[batch, heads, time, size]`
 *  @param k  `[batch, groups, keys, size]`; a group serves heads / groups heads, one after another
 *  @param v  `[batch, groups, keys, width]`
 *  @returns  `[batch, heads, time, width]`, 0 where a query sees no key */
export function plainAttention(q: Tensor, k: Tensor, v: Tensor, options: PlainOptions): Tensor {
  const { scale, softcap, places, starts, bias, drop } = options;
  const [batch, heads, time, size] = q.dims as [Dim, number, Dim, number];
  const [, groups, keys] = k.dims as [Dim, number, Dim];
  const wide = q.dtype === "f64" ? "f64" : "f32";
  const shared = (t: Tensor): Tensor => reshape(t, [batch, groups, 1, keys, t.dims[3] as number]);
  const grouped = reshape(q, [batch, groups, heads / groups, time, size]);
  const product = mul(cast(matmul(grouped, transpose(shared(k), [0, 1, 2, 4, 3])), wide), scale);
  const capped = softcap === null ? product : mul(tanh(div(product, softcap)), softcap);
  const scores = bias ? add(capped, cast(reshape(bias, [-1, groups, heads / groups, 1, keys]), wide)) : capped;
  const sees = visible(places, starts, keys);
  const weights = where(sees, softmax(where(sees, scores, hidden)), 0);
  return reshape(matmul(drop(cast(weights, v.dtype)), shared(v)), [batch, heads, time, v.dims[3] as number]);
}

/** bool `[batch or 1, 1, 1, time, keys]` */
function visible(places: Tensor, starts: Tensor | null, keys: Dim): Tensor {
  const key = iota([keys], 0);
  const each = (t: Tensor): Tensor => reshape(t, [t.dims[0] as Dim, 1, 1, t.dims[1] as Dim, 1]);
  const upTo = lessEqual(key, each(places));
  return starts ? and(upTo, lessEqual(each(starts), key)) : upTo;
}
