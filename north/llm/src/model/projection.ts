/** A linear map of a decoder, its weight `[out, in]` normal at first and its bias, where it has one, 0. A weight in blocks of few bits
 *  (`quantize`) is multiplied as it is. */

import { dequantize, dtypes, nn, type Tensor } from "sinan";

export type Projection = nn.Layer & { readonly weight: Tensor; readonly bias: Tensor | null };

export const projection = (inputs: number, outputs: number, { std, bias }: { std: number; bias: boolean }) =>
  nn.module(
    "linear",
    {
      weight: nn.parameter([outputs, inputs], nn.initializers.normal({ std })),
      bias: bias ? nn.parameter([outputs]) : null,
    },
    project,
  );

const project = ({ weight, bias }: { readonly weight: Tensor; readonly bias: Tensor | null }, x: Tensor): Tensor =>
  nn.functional.linear(x, dtypes[weight.dtype].role === "block" ? dequantize(weight) : weight, bias);
