/** Losses. All reduce to a scalar by their mean unless asked otherwise. */
import { DTypeError, ShapeError } from "../errors.ts";
import { dimsEqual, known } from "../ir/dim.ts";
import { dtypes, isFloat } from "../ir/dtype.ts";
import { typeText } from "../ir/type.ts";
import {
  add,
  and,
  div,
  equal,
  iota,
  less,
  lessEqual,
  logSumExp,
  maximum,
  mean,
  mul,
  notEqual,
  square,
  sub,
  sum,
  type Tensor,
  where,
} from "../tensor/index.ts";

/** What becomes of the losses of single elements. */
export type Reduction = "mean" | "sum" | "none";

/** What targets are left out, how labels are smoothed, and how the elements become one number. */
export interface CrossEntropyOptions {
  readonly reduction?: Reduction;
  /** Targets of this value have loss 0 and are not counted in the mean. */
  readonly ignoreIndex?: number;
  /** The share of the target spread evenly over all classes, 0..1. */
  readonly labelSmoothing?: number;
}

/** −log softmax(logits)[target]: log Σ exp logits minus the target's logit.
 *
 *  Classes may be masked with −∞; a target that is so masked has loss ∞, and so has any in a row of −∞ only, with gradient 0.
 *  A target outside 0..C−1 that is not `ignoreIndex` gives NaN. A mean over no target at all is 0, where PyTorch has NaN.
 *
 *  @param logits   [..., C], a float dtype
 *  @param targets  [...], an integer dtype, each in 0..C−1
 *  @returns        a scalar, or [...] for the reduction "none"
 *  @throws ShapeError, DTypeError
 *  @see Szegedy et al. 2015, arXiv:1512.00567, section 7 (label smoothing)
 *  @example crossEntropy(tensor([[0, 0]]), tensor(Int32Array.of(1)))   // 0.6931 */
export function crossEntropy(
  logits: Tensor,
  targets: Tensor,
  { reduction = "mean", ignoreIndex, labelSmoothing = 0 }: CrossEntropyOptions = {},
): Tensor {
  const classes = logits.dims.at(-1);
  if (classes === undefined || !dimsEqual(logits.dims.slice(0, -1), targets.dims))
    throw new ShapeError(
      `crossEntropy: expected logits [..., C] and targets [...], got ${typeText(logits.type)} and ${typeText(targets.type)}`,
    );
  if (!isFloat(logits.dtype)) throw new DTypeError(`crossEntropy: expected float logits, got ${typeText(logits.type)}`);
  if (!["int", "uint"].includes(dtypes[targets.dtype].kind))
    throw new DTypeError(
      `crossEntropy: expected targets of class numbers, an integer dtype, got ${typeText(targets.type)}`,
    );
  const index = targets.cast("i32");
  const lse = logSumExp(logits, -1);
  // A comparison picks the logit, not a gather: it fuses into the pass over the logits, and so does its gradient.
  const picked = sum(where(equal(iota(logits.dims, logits.rank - 1), index.expandDims(-1)), logits, 0), -1);
  let loss = sub(lse, picked);
  if (labelSmoothing !== 0) loss = add(mul(loss, 1 - labelSmoothing), mul(sub(lse, mean(logits, -1)), labelSmoothing));
  loss = where(equal(lse, Number.NEGATIVE_INFINITY), Number.POSITIVE_INFINITY, loss);
  loss = where(and(lessEqual(0, index), less(index, known(classes, "crossEntropy"))), loss, Number.NaN);
  if (ignoreIndex === undefined) return reduced(loss, reduction);
  const counted = notEqual(index, ignoreIndex);
  const kept = where(counted, loss, 0);
  return reduction === "mean" ? div(sum(kept), maximum(sum(counted), 1).cast(loss.dtype)) : reduced(kept, reduction);
}

const reduced = (loss: Tensor, reduction: Reduction): Tensor =>
  reduction === "mean" ? mean(loss) : reduction === "sum" ? sum(loss) : loss;

/** (prediction − target)².
 *
 *  @param prediction  [...]
 *  @param target      the same dims: a shape that would broadcast is refused, as it is mostly a mistake
 *  @throws ShapeError if the dims differ
 *  @example mseLoss(tensor([1, 3]), tensor([1, 1]))   // 2 */
export function mseLoss(
  prediction: Tensor,
  target: Tensor,
  { reduction = "mean" }: { readonly reduction?: Reduction } = {},
): Tensor {
  if (!dimsEqual(prediction.dims, target.dims))
    throw new ShapeError(
      `mseLoss: expected equal dims, got ${typeText(prediction.type)} and ${typeText(target.type)}`,
      { hint: "reshape one of them" },
    );
  return reduced(square(sub(prediction, target)), reduction);
}
