/** The loss of a language model: the mean cross entropy of the next tokens. */

import { data, div, mul, nn, ShapeError, sum, type Tensor } from "sinan";
import type { Llama } from "./llama.ts";
import type { TokenInput } from "./positions.ts";

/** How much each target counts. */
export interface LossOptions {
  /** How much each target counts, f32 `[batch, time]`: the loss is Σ weight · nats / Σ weight. Targets of `data.ignoreIndex`, which
   *  padding has, are none; their weight should be 0. */
  readonly weights?: Tensor | undefined;
}

/** The mean cross entropy, in nats, of `targets` i32 `[batch, time]` after `inputs` of that shape.
 *  @throws ShapeError
 *  @example loss(model, ids.at(slice(), slice(0, -1)), ids.at(slice(), slice(1)), { train: true, key }) */
export function loss(
  model: Llama,
  inputs: Tensor | TokenInput,
  targets: Tensor,
  ctx?: nn.Context,
  { weights }: LossOptions = {},
): Tensor {
  const given = model(inputs, ctx);
  // Logits of 16 bits are wide enough to be made, not to be summed.
  const logits = given.dtype === "bf16" || given.dtype === "f16" ? given.cast("f32") : given;
  if (!weights) return nn.crossEntropy(logits, targets);
  if (String(weights.dims) !== String(targets.dims))
    throw new ShapeError(
      `loss: expected weights [${String(targets.dims)}], got ${weights.dtype}[${String(weights.dims)}]`,
    );
  const each = nn.crossEntropy(logits, targets, {
    reduction: "none",
    ignoreIndex: data.ignoreIndex,
  });
  return div(sum(mul(each, weights)), sum(weights));
}
