/** What a `remat` keeps for the backward pass: policies, after JAX's `checkpoint_policies`. */
import { named } from "../ops/named.ts";
import type { RematPolicy } from "./region.ts";
import { result } from "./operand.ts";
import type { Tensor } from "./tensor.ts";

/** x, under a name by which a policy of `remat` may keep it.
 *  @example remat((w: Tensor, x: Tensor) => checkpointName(x.matmul(w), "product").tanh(), { save: policies.named("product") }) */
export const checkpointName = (x: Tensor, name: string): Tensor => result(() => named(x.node, name));

const contractions: ReadonlySet<string> = new Set(["dot", "conv", "convWeights"]);

/** `nothing`: all is computed again. `everything`: nothing is. `dots`: matrix products and convolutions are kept, the cheap rest is
 *  not. `named(…)`: values that `checkpointName` gave one of these names.
 *  @example remat(block, { save: policies.dots }) */
export const policies = {
  nothing: () => false,
  everything: () => true,
  dots: ({ op }: { readonly op: string }) => contractions.has(op),
  named:
    (...names: readonly string[]): RematPolicy =>
    ({ name }) =>
      name !== undefined && names.includes(name),
} satisfies Record<string, RematPolicy | ((...names: readonly string[]) => RematPolicy)>;
