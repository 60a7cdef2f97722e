/** Element-wise non-linear functions: values right at ±∞ and gradients right at 0, twice. The branches take |x| by `where`
 *  rather than `abs`, whose derivative at 0 is 0. */
import {
  add,
  div,
  erf,
  exp,
  less,
  lessEqual,
  log,
  mul,
  neg,
  type Operand,
  stopGradient,
  sub,
  tanh,
  where,
} from "../tensor/index.ts";
import type { Tensor } from "../tensor/index.ts";

export { tanh };

/** max(x, 0); its gradient at 0 is 0, NaN stays NaN.
 *  @example relu(tensor([-1, 2]))   // [0, 2] */
export const relu = (x: Tensor): Tensor => where(lessEqual(x, 0), 0, x);

/** 1 / (1 + e⁻ˣ), from e^−|x| so that nothing overflows: 0 at −∞, 1 at ∞. Within 2 ulp: for negative x the quotient only takes part
 *  in a small correction of eˣ, which is nearly the result.
 *  @example sigmoid(tensor([0, 100]))   // [0.5, 1] */
export function sigmoid(x: Operand): Tensor {
  const negative = less(x, 0);
  const e = exp(where(negative, x, neg(x)));
  const rest = div(e, add(e, 1));
  return where(negative, sub(e, mul(e, rest)), sub(1, rest));
}

/** log(1 + eˣ): 0 at −∞, x for large x, with full relative precision for small results.
 *  @see Dugas et al. 2001, "Incorporating second-order functional knowledge for better option pricing"
 *  @example softplus(tensor([0, 100]))   // [0.6931, 100] */
export function softplus(x: Operand): Tensor {
  const negative = less(x, 0);
  return add(where(negative, 0, x), logOnePlus(exp(where(negative, x, neg(x)))));
}

/** log(1 + e) for 0 ≤ e ≤ 1. What rounding 1 + e lost is added to first order; it is 0 in exact arithmetic, so it has no part
 *  in the derivative. */
function logOnePlus(e: Tensor): Tensor {
  const u = add(e, 1);
  return add(log(u), stopGradient(div(sub(e, sub(u, 1)), u)));
}

/** x · sigmoid(x). NaN at −∞, as PyTorch has it.
 *  @see Elfwing et al. 2017, arXiv:1702.03118
 *  @example silu(tensor([0, 1]))   // [0, 0.7311] */
export const silu = (x: Tensor): Tensor => mul(x, sigmoid(x));

/** x · Φ(x) with Φ the normal distribution function: ½ x (1 + erf(x/√2)). NaN at −∞, as PyTorch has it.
 *  @see Hendrycks & Gimpel 2016, arXiv:1606.08415
 *  @example gelu(tensor([0, 1]))   // [0, 0.8413] */
export const gelu = (x: Tensor): Tensor => mul(mul(x, 0.5), add(erf(mul(x, Math.SQRT1_2)), 1));

/** `gelu` approximated by tanh: ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))), as GPT-2 and its descendants have it.
 *  @see Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2
 *  @example geluTanh(tensor([0, 1]))   // [0, 0.8412] */
export const geluTanh = (x: Tensor): Tensor =>
  mul(mul(x, 0.5), add(tanh(mul(Math.sqrt(2 / Math.PI), add(x, mul(mul(mul(x, x), x), 0.044715)))), 1));
