/** Scaled dot-product attention and rotary positions. */
import { ArgumentError, ShapeError } from "../errors.ts";
import { dimsEqual, divDim, type Dim, known } from "../ir/dim.ts";
import type { DType } from "../ir/dtype.ts";
import type { Node } from "../ir/node.ts";
import { typeText } from "../ir/type.ts";
import { attention } from "../ops/attention.ts";
import { cast, expand, reshape } from "../ops/build.ts";
import { promote } from "../tensor/dtypes.ts";
import { add, equal, flip, iota, mul, tensor, type Tensor, where } from "../tensor/index.ts";
import { result } from "../tensor/operand.ts";

/** Masks, scale and layout of `attention`. */
export interface AttentionOptions {
  /** Whether a query sees only keys that are not after it, the last query being at the last key: with T queries and S keys,
   *  query i sees keys 0..i + S − T. */
  readonly causal?: boolean;
  /** Broadcast to [batch, heads, T, S]. Bool: true where a query sees a key. Float: added to the scores. */
  readonly mask?: Tensor;
  /** How many of the keys there are, i32 `[batch]` or one for all: those from there on are not read, whatever they hold, as in a
   *  cache that is not full. With `causal` the last query is at the last of them. More than S are S keys (the first of several queries
   *  still counts back from what was given). */
  readonly kvLengths?: Tensor;
  /** The first key that each query sees, i32 [batch, T] or one row for all: documents in one row, or a window over the last keys. No
   *  mask is stored, and tiles of keys that no query of a tile sees cost nothing. */
  readonly kvStarts?: Tensor;
  /** What scores are multiplied with; 1/√D by default. */
  readonly scale?: number;
}

/** softmax(q kᵀ · scale) v, of whose scores only tiles are in memory, here and in the gradient. Several query heads may share a
 *  key and value head, which are not repeated.
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
  { causal = false, mask, kvLengths, kvStarts, scale }: AttentionOptions = {},
): Tensor {
  const [q4, k4, v4] = [q, k, v].map((t) => t.dims) as [readonly Dim[], readonly Dim[], readonly Dim[]];
  if ([q4, k4, v4].some((dims) => dims.length !== 4))
    throw new ShapeError(
      `attention: expected q [batch, heads, T, D], k [batch, kvHeads, S, D], v [batch, kvHeads, S, E], got ${[q, k, v].map((t) => typeText(t.type)).join(", ")}`,
    );
  const attr = { causal, scale: scale ?? 1 / Math.sqrt(known(q4[3] as Dim, "attention")) };
  return result(() => {
    const dtype = promote(promote(q.dtype, k.dtype), v.dtype);
    const of = (t: Tensor): Node => cast(t.node, dtype);
    const lengths = kvLengths && asLengths(kvLengths, q4[0] as Dim);
    const starts = kvStarts && asStarts(kvStarts, q4[0] as Dim);
    return attention({ q: of(q), k: of(k), v: of(v), mask: mask && asMask(mask, dtype), lengths, starts }, attr)[0];
  });
}

const asLengths = ({ node, rank, dims: [only] }: Tensor, batch: Dim): Node =>
  rank === 0 || (rank === 1 && only === 1) ? expand(reshape(node, [1]), [batch]) : node;

const asStarts = ({ node, rank, dims: [rows, queries] }: Tensor, batch: Dim): Node =>
  rank === 2 && rows === 1 ? expand(node, [batch, queries as Dim]) : node;

/** A mask with four axes; one that is added is in the scores' dtype. */
function asMask(mask: Tensor, dtype: DType): Node {
  if (mask.rank > 4)
    throw new ShapeError(`attention: expected a mask that repeats to [batch, heads, T, S], got ${typeText(mask.type)}`);
  const dims = [...Array.from({ length: 4 - mask.rank }, () => 1), ...mask.dims];
  const node = reshape(mask.node, dims);
  return mask.dtype === "bool" ? node : cast(node, dtype);
}

/** Turns pairs of the last axis by the position's angles: element i of the first half goes with element i of the second, as
 *  Hugging Face's models have it.
 *
 *  @param x    [..., T, D] or, of tokens whose heads lie together, [..., T, H, D]; D even
 *  @param cos  [T, D] or [T, 1, D] (or with leading axes), which broadcast to x; the two halves of D equal; see `ropeTables`
 *  @param sin  the same dims
 *  @returns    as x
 *  @throws ShapeError
 *  @see Su et al. 2021, arXiv:2104.09864, eq. 34
 *  @example const { cos, sin } = nn.ropeTables(2, 4); nn.rope(ones([1, 2, 4]), cos, sin) */
export function rope(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const size = x.dims.at(-1);
  const half = size === undefined ? undefined : divDim(size, 2);
  if (size === undefined || half === undefined || [cos, sin].some((t) => !dimsEqual(t.dims.slice(-1), [size])))
    throw new ShapeError(
      `rope: expected x [..., D] with D even and tables [..., D], got ${[x, cos, sin].map((t) => typeText(t.type)).join(", ")}`,
    );
  const halves = (t: Tensor): Tensor => t.reshape([...t.dims.slice(0, -1), 2, half]);
  const pairs = halves(x);
  // (x₁, x₂) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin): a flip of the pair, read in place, needs no concatenation.
  const signed = where(equal(iota([2, 1], 0), 0), mul(halves(sin), -1), halves(sin));
  return add(mul(pairs, halves(cos)), mul(flip(pairs, -2), signed)).reshape(x.dims);
}

/** Angles and layout of `rope`. */
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
