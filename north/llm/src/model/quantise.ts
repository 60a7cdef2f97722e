/** A model with its matrices in blocks of few bits. */
import { type BlockDType, nn, quantize, type Tensor } from "sinan";
import { withWeights } from "../weights/stored.ts";
import { type Llama, llama } from "./llama.ts";
import type { ModelOptions } from "./projection.ts";

/** Whether a weight is a matrix that tokens go through: all but the embedding, of which they take rows. */
const isMatrix = (name: string): boolean => name.endsWith("_proj.weight") || name === "lm_head.weight";

/** The model with its matrices in blocks, for `Session`, `generate` and calls; its embedding, norms and biases stay as they are, and so
 *  does an output layer that is the embedding. No gradient flows to blocks.
 *
 *  With `activations: "int8"` what the matrices are multiplied by is rounded to 8 bits, as llama.cpp does: faster, and a little less
 *  exact (`quantizedLinear` says by how much). By default it is not.
 *
 *  @throws ShapeError if the width of a matrix does not hold whole blocks
 *  @example
 *  const small = quantizeLlama(model, "q4_0", { activations: "int8" });
 *  for await (const id of generate(small, [1, 15, 7])) … */
export function quantizeLlama(model: Llama, dtype: BlockDType, options: ModelOptions = {}): Llama {
  const named = nn.namedParameters(model);
  return withWeights(llama(model.config, options), (name) => {
    const w = named[name] as Tensor;
    return isMatrix(name) ? quantize(w, dtype) : w;
  });
}
