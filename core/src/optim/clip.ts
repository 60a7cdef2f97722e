/** Gradient clipping by the norm of the whole tree. */
import { ArgumentError } from "../errors.ts";
import { add, cast, div, minimum, mul, sqrt, square, sum, tensor, type Tensor } from "../tensor/index.ts";
import * as tree from "../tensor/tree.ts";
import { widened } from "./optimizer.ts";

/** √Σx² over all tensors of a tree, a scalar in their dtype. Of an empty tree, 0. */
export function globalNorm(grads: unknown): Tensor {
  const [first, ...rest] = tree.tensors(grads).map(({ tensor }) => sum(square(widened(tensor))));
  return first ? sqrt(rest.reduce((a, b) => add(a, b), first)) : tensor(0);
}

/** Scales a tree of gradients so that its norm is at most `maxNorm`: by maxNorm / (norm + 1e-6) where that is below 1, as
 *  PyTorch's `clip_grad_norm_`. If the norm is not finite, neither are the results: look at it before an update.
 *
 *  @returns the scaled tree, and the norm before scaling
 *  @throws ArgumentError
 *  @see Pascanu et al. 2012, arXiv:1211.5063, section 3.2
 *  @example const { grads, norm } = optim.clipByGlobalNorm(raw, 1); */
export function clipByGlobalNorm<G>(grads: G, maxNorm: number): { readonly grads: G; readonly norm: Tensor } {
  if (typeof maxNorm === "number" && !(maxNorm > 0))
    throw new ArgumentError(`clipByGlobalNorm: expected a norm above 0, got ${maxNorm}`);
  const norm = globalNorm(grads);
  const factor = minimum(div(maxNorm, add(norm, 1e-6)), 1);
  return { grads: tree.map((g) => cast(mul(widened(g), factor), g.dtype), grads), norm };
}
