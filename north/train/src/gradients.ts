/** Loss and gradient of a batch, whole or in micro-batches one after another: the same numbers but for rounding, since every example
 *  keeps its number, by which dropout draws, and totals are divided by the weight of the whole. */
import { ArgumentError, cast, iota, scan, tensor, Tensor, tree, valueAndGradWith, zeros, zerosLike } from "sinan";
import { lowered, type Precision } from "./scaling.ts";
import type { StepContext, Task, TrainState } from "./task.ts";

/** Tensors by path: those of a model that are learned. */
type ByPath = Readonly<Record<string, Tensor>>;

interface Summed {
  readonly total: Tensor;
  readonly weight: Tensor;
  /** Of the total times the loss scale. */
  readonly grads: ByPath;
}

export interface GradientOptions {
  /** Micro-batches. */
  readonly accumulate: number;
  readonly precision: Precision;
  /** What the loss is multiplied by on the way, an f32 scalar; undefined for 1. */
  readonly scale: Tensor | undefined;
}

/** The mean loss of a batch and its gradient, a tree like the model; frozen parameters have a 0.
 *
 *  @param batch  a tree of tensors whose first axis is that of the examples
 *  @throws ArgumentError if the batch cannot be split evenly */
export function lossAndGradient<M, S extends TrainState<M>, B>(
  task: Pick<Task<M, S, B>, "loss" | "optimizer">,
  model: M,
  batch: B,
  context: StepContext,
  { accumulate, precision, scale }: GradientOptions,
): { readonly loss: Tensor; readonly grads: M } {
  const parameters = learnedOf(task.optimizer, model);
  // Losses are added up in f32 at least.
  const dtype = Object.values(parameters).some((p) => p.dtype === "f64") ? "f64" : "f32";
  const summed = (part: B, own: StepContext): Summed => {
    const [[, { total, weight }], grads] = valueAndGradWith((learned: ByPath) => {
      const loss = task.loss(lowered(filled(model, learned), precision), part, own);
      const weighed = loss instanceof Tensor ? { total: loss, weight: tensor(1) } : loss;
      const total = cast(weighed.total, dtype);
      return [scale ? total.mul(scale) : total, { total, weight: cast(weighed.weight, dtype) }] as const;
    })(parameters);
    return { total, weight, grads };
  };
  const none = { total: zeros([], { dtype }), weight: zeros([], { dtype }), grads: tree.map(zerosLike, parameters) };
  const { total, weight, grads } =
    accumulate === 1 ? summed(batch, context) : accumulated(batch, accumulate, context, none, summed);
  const whole = scale ? weight.mul(scale) : weight;
  return {
    loss: total.div(weight),
    grads: filled(
      tree.mapLeaves(model, (leaf) => (leaf instanceof Tensor ? zeros([], { dtype: leaf.dtype }) : leaf)) as M,
      tree.map((g) => g.div(cast(whole, g.dtype)), grads),
    ),
  };
}

const learnedOf = <M, S extends TrainState<M>>(optimizer: Task<M, S, never>["optimizer"], model: M): ByPath =>
  Object.fromEntries(
    tree
      .tensors(model)
      .filter(({ path, tensor }) => optimizer.isFrozen?.(path, tensor) !== true)
      .map(({ path, tensor }) => [path, tensor]),
  );

/** The tree with the tensors of some paths replaced. */
const filled = <M>(model: M, values: ByPath): M =>
  tree.mapLeaves(model, (leaf, path) => (Object.hasOwn(values, path) ? values[path] : leaf)) as M;

/** One micro-batch after another, as one loop on the device. */
function accumulated<B>(
  batch: B,
  parts: number,
  context: StepContext,
  none: Summed,
  summed: (part: B, context: StepContext) => Summed,
): Summed {
  const [first] = tree.tensors(batch);
  const examples = first?.tensor.shape[0];
  if (examples === undefined || examples % parts !== 0)
    throw new ArgumentError(`train: accumulate: ${examples ?? "no"} examples cannot be split evenly in ${parts}`);
  const split = tree.mapLeaves(batch, (leaf, path) => {
    if (!(leaf instanceof Tensor)) return leaf;
    if (leaf.shape[0] !== examples)
      throw new ArgumentError(
        `train: accumulate: expected the ${examples} examples of a batch as the first axis, ${path} is [${leaf.shape.join(", ")}]`,
      );
    return leaf.reshape([parts, examples / parts, ...leaf.shape.slice(1)]);
  }) as B;
  const numbers = iota([parts, examples / parts], 1, { dtype: "i32" }).add(
    iota([parts, 1], 0, { dtype: "i32" }).mul(examples / parts),
  );
  const [sum] = scan(
    (carry: Summed, { part, own }: { readonly part: B; readonly own: Tensor }): [Summed, readonly Tensor[]] => {
      const now = summed(part, { ...context, examples: own });
      return [tree.map((a, b) => a.add(b), carry, now), []];
    },
    none,
    { part: split, own: numbers },
  );
  return sum;
}
