/** A linear map of a decoder, its weight `[out, in]` normal at first and its bias, where it has one, 0. */

import { nn, type Tensor } from "sinan";

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
  nn.functional.linear(x, weight, bias);
