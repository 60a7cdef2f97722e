/** A linear map of a decoder, its weight `[out, in]` normal at first and its bias, where it has one, 0. A weight in blocks of few bits
 *  (`quantize`) is multiplied as it is, by its input in f32 or rounded to 8 bits. */

import { type Activations, dtypes, nn, quantizedLinear, type Tensor } from "sinan";

export type Projection = nn.Layer & { readonly weight: Tensor; readonly bias: Tensor | null };

/** How a model computes, beside what it is. */
export interface ModelOptions {
  /** What weights in blocks are multiplied by: `"float"`, their input as it is, or `"int8"`, rounded to 8 bits (`quantizedLinear`). */
  readonly activations?: Activations;
}

interface ProjectionOptions extends ModelOptions {
  readonly std: number;
  readonly bias: boolean;
}

export const projection = (inputs: number, outputs: number, { std, bias, activations = "float" }: ProjectionOptions) =>
  nn.module(
    "linear",
    {
      weight: nn.parameter([outputs, inputs], nn.initializers.normal({ std })),
      bias: bias ? nn.parameter([outputs]) : null,
      activations,
    },
    project,
  );

interface Parts {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
  readonly activations: Activations;
}

const project = ({ weight, bias, activations }: Parts, x: Tensor): Tensor =>
  dtypes[weight.dtype].role === "block"
    ? quantizedLinear(x, weight, bias, { activations })
    : nn.functional.linear(x, weight, bias);
