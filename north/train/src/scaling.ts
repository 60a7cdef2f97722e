/** Precisions of the forward and backward pass. Weights, moments and sums stay f32; f16, whose numbers end at 65504, has its loss
 *  scaled so that small gradients are not lost, by as much as its large ones bear. */
import { cast, dtypes, tensor, Tensor, tree, where } from "sinan";

/** The dtype of the passes. */
export type Precision = "f32" | "bf16" | "f16";

/** Part of a run's state: by what the loss is multiplied, and for how many steps that went well. */
export interface Scaling {
  /** f32 scalar. */
  readonly scale: Tensor;
  /** i32 scalar. */
  readonly good: Tensor;
}

/** As PyTorch's GradScaler has them. */
const [firstScale, growthInterval] = [2 ** 16, 2000];

/** Below this f16 cannot be helped by scaling. */
export const leastScale = 2 ** -14;

export const firstScaling = (precision: Precision): Scaling | null =>
  precision === "f16" ? { scale: tensor(firstScale), good: tensor(0, { dtype: "i32" }) } : null;

/** The weights as the passes see them; gradients flow through the cast back to f32. */
export const lowered = <M>(model: M, precision: Precision): M =>
  precision === "f32"
    ? model
    : (tree.mapLeaves(model, (leaf) =>
        leaf instanceof Tensor && dtypes[leaf.dtype].kind === "float" ? cast(leaf, precision) : leaf,
      ) as M);

/** The scaling after a step: half where a gradient overflowed, twice after enough steps where none did, unless that is beyond f32. These
 *  are the scales of PyTorch's GradScaler; but it drops the step that overflowed, whose batch is lost to the run, and also halves where
 *  the loss itself is not finite, which no scale will help.
 *  @see Micikevicius et al. 2017, arXiv:1710.03740, section 3.2 */
export function nextScaling({ scale, good }: Scaling, overflowed: Tensor): Scaling {
  const count = good.add(1);
  const grows = count.greaterEqual(growthInterval);
  const twice = scale.mul(2);
  return {
    scale: where(overflowed, scale.mul(0.5), where(grows.and(twice.isFinite()), twice, scale)),
    good: where(overflowed.or(grows), 0, count).cast("i32"),
  };
}
