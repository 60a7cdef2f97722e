/** Regions whose gradients of weights may wait. A room of its own, so that a program without them is bundled without `stages.ts`. */
import { waiting } from "../autodiff/marks.ts";
import { callStages } from "../autodiff/stages.ts";
import { callOrMake, type RegionOptions, unit } from "./region.ts";

/** Which arguments of a `splitBackward` are weights. */
export interface SplitBackwardOptions extends RegionOptions {
  /** By position among the arguments. */
  readonly weights: readonly number[];
}

/** A `region` whose gradients of weights may wait. Where those of other arguments are wanted too, the backward pass calls two
 *  functions, `NAME.backwardInputs` and `NAME.backwardWeights`; nothing but gradients of weights depends on the second, so a
 *  pipeline may run it at any later time. What the second needs of the first is kept until then.
 *  @throws TraceError if f assigns to a tensor
 *  @see Qi et al. 2024, arXiv:2401.10241, section 2
 *  @example const block = splitBackward((layer, x) => …, { weights: [0] }); for (const layer of layers) x = block(layer, x); */
export const splitBackward = <A extends readonly unknown[], Y>(
  f: (...args: A) => Y,
  options: SplitBackwardOptions,
): ((...args: A) => Y) =>
  unit(f, options, (fn, inputs, _traced, _args, { leaves, entries }) => {
    if (!waiting.has(fn)) {
      const given = leaves.filter((_, i) => entries[i]?.kind !== "fixed");
      const later = given.map(({ path }) => options.weights.includes(Number(path.split(".")[0])));
      waiting.set(fn, { later, call: callStages });
    }
    return callOrMake(fn, inputs);
  });
