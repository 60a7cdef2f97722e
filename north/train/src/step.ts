/** One training step as one compiled call: loss, gradient, clipping by global norm, update, the mean of the weights, and the guard that
 *  keeps the old state when loss or gradient is not finite, or the loss is too large. */
import { jit, type Key, optim, type Tensor, tree, where } from "sinan";
import { lossAndGradient, withTensors } from "./gradients.ts";
import { firstScaling, nextScaling, type Precision, type Scaling } from "./scaling.ts";
import type { Task, TrainState } from "./task.ts";

/** What a compiled step does beside the task's own. */
export interface StepOptions {
  /** Largest global norm of a gradient: one of a larger norm is scaled down to it. Default 1; Infinity leaves all as they are. */
  readonly clipNorm?: number | undefined;
  /** Micro-batches that a batch is cut into, so that the activations of one are held at a time. Default 1. */
  readonly accumulate?: number | undefined;
  /** Of the forward and backward pass; weights and their updates are f32. Default f32. */
  readonly precision?: Precision | undefined;
  /** How much of the running mean of the weights stays in each step, such as 0.999. Default: no such mean. */
  readonly ema?: number | undefined;
}

/** All that a step changes. */
export interface Running<M, S> {
  readonly train: S;
  /** The exponential running mean of the weights. */
  readonly ema: M | null;
  readonly scaling: Scaling | null;
}

/** What a step gives. */
export interface StepResult<M, S> {
  readonly next: Running<M, S>;
  /** Scalars; where one is not finite, or the loss above the limit, `next` is as it was, but for the loss scale. */
  readonly loss: Tensor;
  readonly norm: Tensor;
}

/** What is different in each step. */
export interface StepInputs<B> {
  readonly batch: B;
  readonly rate: number;
  /** For dropout. */
  readonly key: Key;
  /** The largest loss that is learned from. */
  readonly limit: number;
}

/** What a run has before its first step. `train.model` is the model itself: copy it before a step takes it. */
export function firstState<M, S extends TrainState<M>>(
  { model, optimizer }: Pick<Task<M, S, never>, "model" | "optimizer">,
  { ema, precision = "f32" }: StepOptions,
): Running<M, S> {
  return { train: optimizer.init(model), ema: ema === undefined ? null : model, scaling: firstScaling(precision) };
}

/** The step of a task, compiled at its first call. The state that it is given is donated: use the one that it returns.
 *
 *  @example
 *  const step = trainStep(task, { clipNorm: 1 });
 *  const { next, loss } = step(state, { batch, rate: 3e-4, key: key(0), limit: Infinity }); */
export function trainStep<M, S extends TrainState<M>, B>(
  task: Pick<Task<M, S, B>, "loss" | "optimizer">,
  { clipNorm = 1, accumulate = 1, precision = "f32", ema: kept }: StepOptions = {},
): (state: Running<M, S>, inputs: StepInputs<B>) => StepResult<M, S> {
  const step = (
    { train, ema, scaling }: Running<M, S>,
    { batch, rate, key, limit }: StepInputs<B>,
  ): StepResult<M, S> => {
    const options = { accumulate, precision, scale: scaling?.scale };
    const { loss, grads: raw, statistics } = lossAndGradient(task, train.model, batch, { train: true, key }, options);
    const { grads, norm } = optim.clipByGlobalNorm(raw, clipNorm);
    const moved = task.optimizer.update(train, grads, { learningRate: rate });
    const updated: S = { ...moved, model: withTensors(moved.model, statistics) };
    const good = loss.isFinite().and(norm.isFinite()).and(loss.lessEqual(limit));
    const chosen = <T>(now: T, before: T): T => tree.map((a, b) => where(good, a, b), now, before);
    const mean =
      ema === null || kept === undefined
        ? null
        : tree.map(
            (a, p) =>
              a
                .mul(kept)
                .add(p.mul(1 - kept))
                .cast(a.dtype),
            ema,
            updated.model,
          );
    return {
      next: {
        train: chosen(updated, train),
        ema: ema && mean && chosen(mean, ema),
        scaling: scaling && nextScaling(scaling, loss.isFinite().and(norm.isFinite().not())),
      },
      loss,
      norm,
    };
  };
  return jit(step, { donate: [0], name: "trainStep" });
}
