/** The norms of a decoder, over the last axis: root mean square or layer norm, with a weight and maybe a bias. */

import { add, nn, type Tensor } from "sinan";
import type { LlamaConfig } from "../config.ts";

/** @param size  of the axis */
export const norm = (
  { norm: kind, normEpsilon: epsilon, normBias, normFromOne: fromOne }: LlamaConfig,
  size: number,
): nn.Layer =>
  kind === "rms" && !fromOne
    ? nn.rmsNorm(size, { epsilon })
    : nn.module(
        "norm",
        {
          weight: nn.parameter([size], fromOne ? nn.initializers.zeros : nn.initializers.ones),
          bias: kind === "layer" && normBias ? nn.parameter([size]) : null,
          kind,
          fromOne,
          epsilon,
        },
        normForward,
      );

interface Norm {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  readonly kind: string;
  readonly fromOne: boolean;
  readonly epsilon: number;
}

function normForward({ weight, bias, kind, fromOne, epsilon }: Norm, x: Tensor): Tensor {
  const whole = fromOne ? add(weight, 1) : weight;
  return kind === "rms"
    ? nn.functional.rmsNorm(x, whole, { epsilon })
    : nn.functional.layerNorm(x, whole, bias, { epsilon });
}
