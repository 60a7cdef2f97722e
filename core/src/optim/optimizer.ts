/** What optimizers have in common. An optimizer is two pure functions over trees: `init` makes the state of a model, `update`
 *  the next state from gradients; the model is part of the state, so one `donate: ["state"]` covers all of it. */
import { ArgumentError, TreeError } from "../errors.ts";
import { carrierOf } from "../ir/dtype.ts";
import { filled } from "../nn/initializers.ts";
import { atOneLine } from "../ir/site.ts";
import { cast, Tensor, tensor } from "../tensor/index.ts";
import * as tree from "../tensor/tree.ts";

/** A rate or count: a number, or a scalar tensor. An argument of a jitted function that is typed `number` is traced, so it may
 *  change without another trace. */
export type Rate = number | Tensor;

/** What an optimizer goes on from: the model and the number of its steps. */
export interface State<M> {
  readonly model: M;
  /** Updates made so far, an i32 scalar. */
  readonly step: Tensor;
}

/** What is different in one step. */
export interface Overrides {
  /** The rate of this step, for instance from a schedule. */
  readonly learningRate?: Rate;
}

/** Which parameters decay. */
export type Decay = (path: string, parameter: Tensor) => boolean;

/** What optimizers say of a parameter to whoever differentiates: a frozen one needs no gradient. */
export interface Freezing {
  isFrozen(path: string, parameter: Tensor): boolean;
}

/** Matrices and embeddings decay, biases and norms do not. */
export const decayMatrices: Decay = (_, parameter) => parameter.rank >= 2;

export const firstStep = (): Tensor => tensor(0, { dtype: "i32" });

/** What is computed with: f16 and bf16 are taken as f32, so that small steps are not lost before they are added up. */
export const widened = (x: Tensor): Tensor => cast(x, carrierOf(x.dtype));

/** Zeros like the model's tensors, f32 for those of 16 bits, each with memory of its own; one number for those that stay as they are. */
export const zerosOf = <M>(model: M, isFrozen: (path: string, parameter: Tensor) => boolean): M =>
  tree.mapLeaves(model, (p, path) =>
    p instanceof Tensor ? filled(isFrozen(path, p) ? [] : p.shape, 0, carrierOf(p.dtype)) : p,
  ) as M;

/** The model with each tensor replaced; `f` is also given its path and the tensors at that path of other trees.
 *  @throws TreeError where the trees differ */
export function mapParameters<M>(
  f: (path: string, parameter: Tensor, ...others: Tensor[]) => Tensor,
  model: M,
  ...others: readonly unknown[]
): M {
  const found = others.map((o) => new Map(tree.tensors(o).map(({ path, tensor }) => [path, tensor])));
  const known = new Set(found.length > 0 ? tree.tensors(model).map(({ path }) => path) : []);
  for (const o of found)
    for (const path of o.keys())
      if (!known.has(path))
        throw new TreeError(
          `update: the state or the gradients have a tensor at ${path || "the root"}, where the model has none`,
        );
  return atOneLine(() =>
    tree.mapLeaves(model, (leaf, path) => {
      if (!(leaf instanceof Tensor)) return leaf;
      const at = found.map((o) => {
        const other = o.get(path);
        if (!other)
          throw new TreeError(`update: the state or the gradients have no tensor at ${path || "the root"}`, {
            hint: "make the state with init(model), of this model",
          });
        return other;
      });
      return f(path, leaf, ...at);
    }),
  ) as M;
}

/** A rate checked where it is a plain number. */
export function checkRate(optimizer: string, rate: Rate): Rate {
  if (typeof rate === "number" && !(rate >= 0 && Number.isFinite(rate)))
    throw new ArgumentError(`${optimizer}: expected a learning rate of at least 0, got ${rate}`);
  return rate;
}

export function checkRange(optimizer: string, name: string, value: number, below = Number.POSITIVE_INFINITY): void {
  if (!(value >= 0 && value < below))
    throw new ArgumentError(
      `${optimizer}: expected ${name} of at least 0${Number.isFinite(below) ? ` and below ${below}` : ""}, got ${value}`,
    );
}
