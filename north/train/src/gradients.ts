/** Loss and gradient of a batch, whole or in micro-batches one after another: the same numbers but for rounding, since every example
 *  keeps its number, by which dropout draws, and totals are divided by the weight of the whole. */
import {
  ArgumentError,
  cast,
  iota,
  scan,
  tensor,
  Tensor,
  tree,
  TreeError,
  valueAndGradWith,
  zeros,
  zerosLike,
} from "sinan";
import { lowered, type Precision } from "./scaling.ts";
import type { StepContext, Task, TrainState } from "./task.ts";

/** Tensors by path: those of a model that are learned. */
type ByPath = Readonly<Record<string, Tensor>>;

interface Summed {
  readonly total: Tensor;
  readonly weight: Tensor;
  /** Of the total times the loss scale. */
  readonly grads: ByPath;
  /** Running statistics after it. */
  readonly statistics: ByPath;
}

export interface GradientOptions {
  /** Micro-batches. */
  readonly accumulate: number;
  readonly precision: Precision;
  /** What the loss is multiplied by on the way, an f32 scalar; undefined for 1. */
  readonly scale: Tensor | undefined;
}

/** The mean loss of a batch and its gradient, a tree like the model; frozen parameters have a 0. Beside them the running statistics that
 *  layers left, those of a micro-batch on top of those before it.
 *
 *  @param batch  a tree of tensors whose first axis is that of the examples
 *  @throws ArgumentError if the batch cannot be split evenly; TreeError for statistics that the model does not have */
export function lossAndGradient<M, S extends TrainState<M>, B>(
  task: Pick<Task<M, S, B>, "loss" | "optimizer">,
  model: M,
  batch: B,
  context: StepContext,
  { accumulate, precision, scale }: GradientOptions,
): { readonly loss: Tensor; readonly grads: M; readonly statistics: ByPath } {
  const parameters = learnedOf(task.optimizer, model);
  // Losses are added up in f32 at least.
  const dtype = Object.values(parameters).some((p) => p.dtype === "f64") ? "f64" : "f32";
  const forward = (learned: ByPath, part: B, own: StepContext, before: ByPath) => {
    const updates: Record<string, Tensor> = {};
    const low = lowered(withTensors(model, learned), precision);
    const loss = task.loss(withTensors(low, before), part, { ...own, updates });
    return { loss, statistics: statisticsOf(model, updates) };
  };
  /** The statistics as they are: which tensors these are is known once a layer left them. */
  const first = (part: B, own: StepContext): ByPath => {
    const { statistics } = forward(parameters, part, own, {});
    return Object.fromEntries(
      tree.tensors(model).flatMap(({ path, tensor }) => (Object.hasOwn(statistics, path) ? [[path, tensor]] : [])),
    );
  };
  const summed = (part: B, own: StepContext, before: ByPath): Summed => {
    const [[, { total, weight, statistics }], grads] = valueAndGradWith((learned: ByPath) => {
      const { loss, statistics } = forward(learned, part, own, before);
      const weighed = loss instanceof Tensor ? { total: loss, weight: tensor(1) } : loss;
      const total = cast(weighed.total, dtype);
      return [scale ? total.mul(scale) : total, { total, weight: cast(weighed.weight, dtype), statistics }] as const;
    })(parameters);
    return { total, weight, grads, statistics };
  };
  const none = { total: zeros([], { dtype }), weight: zeros([], { dtype }), grads: tree.map(zerosLike, parameters) };
  const { total, weight, grads, statistics } =
    accumulate === 1
      ? // Statistics stay f32 in passes of 16 bits.
        summed(batch, context, precision === "f32" ? {} : first(batch, context))
      : accumulated(batch, accumulate, context, none, first, summed);
  const whole = scale ? weight.mul(scale) : weight;
  return {
    loss: total.div(weight),
    grads: withTensors(
      tree.mapLeaves(model, (leaf) => (leaf instanceof Tensor ? zeros([], { dtype: leaf.dtype }) : leaf)) as M,
      tree.map((g) => g.div(cast(whole, g.dtype)), grads),
    ),
    statistics,
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
export const withTensors = <M>(model: M, values: ByPath): M =>
  tree.mapLeaves(model, (leaf, path) => (Object.hasOwn(values, path) ? values[path] : leaf)) as M;

/** What layers left, as tensors of the model.
 *  @throws TreeError naming a path that the model does not have */
function statisticsOf(model: unknown, updates: ByPath): ByPath {
  const dtypes = new Map(tree.tensors(model).map(({ path, tensor }) => [path, tensor.dtype]));
  return Object.fromEntries(
    Object.entries(updates).map(([path, now]) => {
      const dtype = dtypes.get(path);
      if (dtype === undefined)
        throw new TreeError(`train: a layer left new statistics at ${path}, where the model has no tensor`, {
          hint: 'call a module that is a field of a plain record with nn.contextAt(context, "field")',
        });
      return [path, cast(now, dtype)];
    }),
  );
}

/** One micro-batch after another, as one loop on the device. */
function accumulated<B>(
  batch: B,
  parts: number,
  context: StepContext,
  none: Omit<Summed, "statistics">,
  first: (part: B, context: StepContext) => ByPath,
  summed: (part: B, context: StepContext, before: ByPath) => Summed,
): Summed {
  const examples = tree.tensors(batch)[0]?.tensor.shape[0];
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
  const at0 = <T>(of: T): T => tree.map((t) => t.at(0), of);
  const statistics = first(at0(split), { ...context, examples: at0(numbers) });
  const [sum] = scan(
    (carry: Summed, { part, own }: { readonly part: B; readonly own: Tensor }): [Summed, readonly Tensor[]] => {
      const { statistics: before, ...sums } = carry;
      const { statistics, ...now } = summed(part, { ...context, examples: own }, before);
      return [{ ...tree.map((a, b) => a.add(b), sums, now), statistics }, []];
    },
    { ...none, statistics },
    { part: split, own: numbers },
  );
  return sum;
}
