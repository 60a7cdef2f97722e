/** Scaled dot-product attention and rotary positions. */
import { ArgumentError, ShapeError } from "../errors.ts";
import { dimEqual, dimsEqual, divDim, type Dim, subDim, known } from "../ir/dim.ts";
import { typeText } from "../ir/type.ts";
import {
  add,
  and,
  div,
  dot,
  equal,
  exp,
  flip,
  iota,
  isFinite,
  lessEqual,
  max,
  mul,
  softmax,
  stopGradient,
  sub,
  sum,
  tensor,
  type Tensor,
  where,
} from "../tensor/index.ts";
import type { DType } from "../ir/dtype.ts";

export interface AttentionOptions {
  /** Whether a query sees only keys that are not after it, the last query being at the last key: with T queries and S keys,
   *  query i sees keys 0..i + S − T. */
  readonly causal?: boolean;
  /** Broadcast to [batch, heads, T, S]. Bool: true where a query sees a key. Float: added to the scores. */
  readonly mask?: Tensor;
  /** What scores are multiplied with; 1/√D by default. */
  readonly scale?: number;
}

/** softmax(q kᵀ · scale) v, the plain definition. Several query heads may share a key and value head, which are not repeated.
 *
 *  A query that sees no key at all gives 0, with gradient 0.
 *
 *  @param q  [batch, heads, T, D]
 *  @param k  [batch, kvHeads, S, D], heads a multiple of kvHeads; query head h reads head ⌊h · kvHeads / heads⌋
 *  @param v  [batch, kvHeads, S, E]
 *  @returns  [batch, heads, T, E]
 *  @throws ShapeError
 *  @see Vaswani et al. 2017, arXiv:1706.03762, eq. 1; Ainslie et al. 2023, arXiv:2305.13245 (grouped queries)
 *  @example nn.scaledDotProductAttention(q, k, v, { causal: true }) */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { causal = false, mask, scale }: AttentionOptions = {},
): Tensor {
  const { batch, heads, kvHeads, group, queries, keys, size } = sizesOf(q, k, v);
  const grouped = q.reshape([batch, kvHeads, group, queries, size]);
  const scaled = mul(grouped, scale ?? 1 / Math.sqrt(known(size, "attention")));
  const heading = [
    [0, 1],
    [0, 1],
  ] as const;
  // [batch, kvHeads, group, T, S]
  let scores = dot(scaled, k, { contract: [[4], [3]], batch: heading });
  const given = mask && intoGroups(mask, { batch, heads, kvHeads, group, queries, keys });
  if (given && given.dtype !== "bool") scores = add(scores, given);
  const below = causal
    ? lessEqual(iota([queries, keys], 1), iota([queries, keys], 0).add(known(subDim(keys, queries), "attention")))
    : undefined;
  const seen = given?.dtype === "bool" ? (below ? and(given, below) : given) : below;
  if (seen) scores = where(seen, scores, Number.NEGATIVE_INFINITY);
  // Only a mask can hide every key, or fewer keys than queries.
  const mayBeEmpty =
    given !== undefined ||
    (causal && !(dimEqual(keys, queries) || known(keys, "attention") > known(queries, "attention")));
  const weights = mayBeEmpty ? softmaxOrZero(scores) : softmax(scores, -1);
  return dot(weights, v, { contract: [[4], [2]], batch: heading }).reshape([batch, heads, queries, v.dims[3] as Dim]);
}

/** Softmax over the last axis, 0 for a row of −∞. */
function softmaxOrZero(x: Tensor): Tensor {
  const largest = stopGradient(max(x, -1, { keepDims: true }));
  const e = exp(sub(x, where(isFinite(largest), largest, 0)));
  const total = sum(e, -1, { keepDims: true });
  return div(e, where(equal(total, 0), 1, total));
}

function sizesOf(q: Tensor, k: Tensor, v: Tensor) {
  const [batch, heads, queries, size] = q.dims;
  const [, kvHeads, keys] = k.dims;
  const fits =
    [q, k, v].every((t) => t.rank === 4) &&
    dimsEqual([batch, keys, size] as Dim[], [k.dims[0], k.dims[2], k.dims[3]] as Dim[]) &&
    dimsEqual(k.dims.slice(0, 3), v.dims.slice(0, 3));
  const group = fits ? divDim(heads as Dim, kvHeads as Dim) : undefined;
  if (
    !fits ||
    group === undefined ||
    batch === undefined ||
    heads === undefined ||
    queries === undefined ||
    size === undefined ||
    kvHeads === undefined ||
    keys === undefined
  )
    throw new ShapeError(
      `attention: expected q [batch, heads, T, D], k [batch, kvHeads, S, D], v [batch, kvHeads, S, E], heads a multiple of kvHeads; got ${[q, k, v].map((t) => typeText(t.type)).join(", ")}`,
    );
  return { batch, heads, kvHeads, group, queries, keys, size };
}

interface Sizes {
  readonly batch: Dim;
  readonly heads: Dim;
  readonly kvHeads: Dim;
  readonly group: Dim;
  readonly queries: Dim;
  readonly keys: Dim;
}

/** A mask over [batch, heads, T, S] as one over [batch, kvHeads, group, T, S]. */
function intoGroups(mask: Tensor, { batch, heads, kvHeads, group, queries, keys }: Sizes): Tensor {
  const whole = [batch, heads, queries, keys];
  const dims = [...Array.from({ length: Math.max(0, 4 - mask.rank) }, () => 1), ...mask.dims];
  if (dims.length !== 4 || dims.some((d, a) => d !== 1 && !dimEqual(d, whole[a] as Dim)))
    throw new ShapeError(
      `attention: expected a mask that broadcasts to [batch, heads, T, S] = [${whole.map(String).join(", ")}], got ${typeText(mask.type)}`,
    );
  const [b, h, t, s] = dims as [Dim, Dim, Dim, Dim];
  return mask.reshape(h === 1 ? [b, 1, 1, t, s] : [b, kvHeads, group, t, s]);
}

/** Turns pairs of the last axis by the position's angles: element i of the first half goes with element i of the second, as
 *  Hugging Face's models have it.
 *
 *  @param x    [..., T, D], D even
 *  @param cos  [T, D] (or with leading axes that broadcast), the two halves of D equal; see `ropeTables`
 *  @param sin  the same dims
 *  @returns    [..., T, D]
 *  @throws ShapeError
 *  @see Su et al. 2021, arXiv:2104.09864, eq. 34
 *  @example const { cos, sin } = nn.ropeTables(2, 4); nn.rope(ones([1, 2, 4]), cos, sin) */
export function rope(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const size = x.dims.at(-1);
  const half = size === undefined ? undefined : divDim(size, 2);
  if (
    size === undefined ||
    half === undefined ||
    [cos, sin].some((t) => !dimsEqual(t.dims.slice(-2), x.dims.slice(-2)))
  )
    throw new ShapeError(
      `rope: expected x [..., T, D] with D even and tables [T, D], got ${[x, cos, sin].map((t) => typeText(t.type)).join(", ")}`,
    );
  const halves = (t: Tensor): Tensor => t.reshape([...t.dims.slice(0, -1), 2, half]);
  const pairs = halves(x);
  // (x₁, x₂) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin): a flip of the pair, read in place, needs no concatenation.
  const signed = where(equal(iota([2, 1], 0), 0), mul(halves(sin), -1), halves(sin));
  return add(mul(pairs, halves(cos)), mul(flip(pairs, -2), signed)).reshape(x.dims);
}

export interface RopeOptions {
  /** The base of the angles' geometric sequence. */
  readonly theta?: number;
  /** Radians per position for each pair, D/2 numbers, in place of θ^(−2i/D): for models that stretch their positions. */
  readonly frequencies?: readonly number[];
  readonly dtype?: DType;
}

/** cos and sin of position · frequency, computed in doubles.
 *
 *  @param positions  how many from 0 on, or the positions themselves
 *  @param size       D, even
 *  @returns          two tables [T, D] whose halves are equal
 *  @throws ArgumentError
 *  @see Su et al. 2021, arXiv:2104.09864, section 3.2
 *  @example const { cos, sin } = nn.ropeTables(1024, 64, { theta: 500000 }); */
export function ropeTables(
  positions: number | ArrayLike<number>,
  size: number,
  { theta = 10_000, frequencies, dtype = "f32" }: RopeOptions = {},
): { readonly cos: Tensor; readonly sin: Tensor } {
  if (!Number.isSafeInteger(size) || size < 2 || size % 2 !== 0)
    throw new ArgumentError(`ropeTables: expected an even size of at least 2, got ${size}`);
  const half = size / 2;
  if (frequencies && frequencies.length !== half)
    throw new ArgumentError(`ropeTables: expected ${half} frequencies for size ${size}, got ${frequencies.length}`);
  const rates = frequencies ?? Array.from({ length: half }, (_, i) => theta ** ((-2 * i) / size));
  const at = typeof positions === "number" ? Array.from({ length: positions }, (_, i) => i) : Array.from(positions);
  const table = (f: (angle: number) => number): Tensor => {
    const values = new Float64Array(at.length * size);
    at.forEach((position, t) => {
      for (let i = 0; i < size; i++) values[t * size + i] = f(position * (rates[i % half] as number));
    });
    return tensor(values, { shape: [at.length, size], dtype });
  };
  return { cos: table(Math.cos), sin: table(Math.sin) };
}
