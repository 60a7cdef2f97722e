/** The functions behind the layers that have parameters, for models which keep those themselves. */
import { ArgumentError, ShapeError } from "../errors.ts";
import { dimsEqual } from "../ir/dim.ts";
import { carrierOf } from "../ir/dtype.ts";
import { typeText } from "../ir/type.ts";
import {
  add,
  cast,
  div,
  dot,
  mean,
  mul,
  random,
  rsqrt,
  square,
  sub,
  take,
  type Tensor,
  where,
} from "../tensor/index.ts";

/** x · weightᵀ + bias.
 *
 *  @param x       [..., in]
 *  @param weight  [out, in]
 *  @param bias    [out]
 *  @returns       [..., out]
 *  @throws ShapeError
 *  @example functional.linear(tensor([[1, 2]]), tensor([[3, 4]]))   // [[11]] */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor | null): Tensor {
  if (weight.rank !== 2 || x.rank === 0 || !dimsEqual(x.dims.slice(-1), weight.dims.slice(1)))
    throw new ShapeError(
      `linear: expected x [..., in] and weight [out, in], got ${typeText(x.type)} and ${typeText(weight.type)}`,
    );
  if (bias && !dimsEqual(bias.dims, weight.dims.slice(0, 1)))
    throw new ShapeError(
      `linear: expected bias [out] with weight ${typeText(weight.type)}, got ${typeText(bias.type)}`,
    );
  const y = dot(x, weight, { contract: [[-1], [1]] });
  return bias ? add(y, bias) : y;
}

/** Rows of a table. An id outside it gives NaN.
 *
 *  @param ids     [...], an integer dtype
 *  @param weight  [count, dim]
 *  @returns       [..., dim]
 *  @throws DTypeError, ShapeError
 *  @example functional.embedding(tensor(Int32Array.of(1, 0)), eye(2))   // [[0, 1], [1, 0]] */
export function embedding(ids: Tensor, weight: Tensor): Tensor {
  if (weight.rank !== 2) throw new ShapeError(`embedding: expected weight [count, dim], got ${typeText(weight.type)}`);
  return take(weight, ids, 0);
}

const fits = (layer: string, x: Tensor, parameters: readonly (Tensor | null | undefined)[]): void => {
  for (const p of parameters)
    if (p && (x.rank === 0 || !dimsEqual(p.dims, x.dims.slice(-1))))
      throw new ShapeError(
        `${layer}: expected a parameter of the last axis of ${typeText(x.type)}, got ${typeText(p.type)}`,
      );
};

/** Root-mean-square norm over the last axis: `x / sqrt(mean(x²) + epsilon) * weight`. Of 16 bits it is computed in f32: where x is small
 *  the derivative of the root is beyond f16.
 *
 *  @param x       [..., dim]
 *  @param weight  [dim]
 *  @returns       [..., dim]
 *  @throws ShapeError if `weight` is not `[dim]`
 *  @see Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4
 *  @example functional.rmsNorm(tensor([[3, 4]]), ones([2]))   // [[0.8485, 1.1314]] */
export function rmsNorm(x: Tensor, weight: Tensor, { epsilon = 1e-5 }: { readonly epsilon?: number } = {}): Tensor {
  fits("rmsNorm", x, [weight]);
  const wide = cast(x, carrierOf(x.dtype));
  const y = mul(wide, rsqrt(add(mean(square(wide), -1, { keepDims: true }), epsilon)));
  return mul(cast(y, x.dtype), weight);
}

/** Layer norm over the last axis: `(x − mean) / sqrt(variance + epsilon) * weight + bias`, the variance divided by dim.
 *
 *  @param x       [..., dim]
 *  @param weight  [dim]
 *  @param bias    [dim]
 *  @returns       [..., dim]
 *  @throws ShapeError
 *  @see Ba et al. 2016, arXiv:1607.06450
 *  @example functional.layerNorm(tensor([[1, 3]]), ones([2]))   // [[-1, 1]] */
export function layerNorm(
  x: Tensor,
  weight?: Tensor | null,
  bias?: Tensor | null,
  { epsilon = 1e-5 }: { readonly epsilon?: number } = {},
): Tensor {
  fits("layerNorm", x, [weight, bias]);
  const wide = cast(x, carrierOf(x.dtype));
  const centred = sub(wide, mean(wide, -1, { keepDims: true }));
  const y = cast(mul(centred, rsqrt(add(mean(square(centred), -1, { keepDims: true }), epsilon))), x.dtype);
  const scaled = weight ? mul(y, weight) : y;
  return bias ? add(scaled, bias) : scaled;
}

/** Each element 0 with the given probability, the others divided by what remains of 1, so that the mean stays.
 *
 *  @param probability  0 ≤ p < 1
 *  @param examples     of a part of a batch: the numbers i32 [n] of its examples in the whole, one after another; the first axis of x
 *                      is theirs. The part then loses what it would lose in the whole
 *  @throws ArgumentError
 *  @see Srivastava et al. 2014, "Dropout", JMLR 15
 *  @example functional.dropout(ones([4]), 0.5, key(0)) */
export function dropout(x: Tensor, probability: number, key: random.Key, examples?: Tensor): Tensor {
  checkProbability(probability);
  if (probability === 0) return x;
  const keep = 1 - probability;
  return where(random.bernoulli(key, keep, x.dims, examples ? partOf(x, examples) : {}), div(x, keep), 0);
}

/** Where the elements of a part of a batch lie in the whole. */
function partOf(x: Tensor, examples: Tensor): random.Part {
  const [count, elements] = [examples.size, x.size];
  if (x.rank === 0 || elements % count !== 0)
    throw new ShapeError(
      `dropout: ${typeText(x.type)} is not made of ${count} examples, so what each of them loses is not known`,
    );
  return { from: mul(cast(examples.at(0), "u32"), elements / count) };
}

/** Refuses what is no probability below 1.
 *  @throws ArgumentError */
export function checkProbability(probability: number): void {
  if (!(probability >= 0 && probability < 1))
    throw new ArgumentError(`dropout: expected a probability of 0 ≤ p < 1, got ${probability}`);
}
