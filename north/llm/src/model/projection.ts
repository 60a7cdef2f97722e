/** A linear map without bias, its weight `[out, in]` normal at first: all that a LLaMA's matrices are. */

import { nn, type Tensor } from "sinan";

export type Projection = nn.Layer & { readonly weight: Tensor };

export const plainLinear = (inputs: number, outputs: number, std: number): nn.Linear =>
  nn.linear(inputs, outputs, { bias: false, initializer: nn.initializers.normal({ std }) });
