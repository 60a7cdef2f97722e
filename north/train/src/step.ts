/** One training step as one compiled call: loss, gradient, clipping by global norm, update, and the guard that keeps the old
 *  state when loss or gradient is not finite. */
import { jit, type Key, optim, type Tensor, tree, valueAndGrad, where } from "sinan";
import type { Task, TrainState } from "./task.ts";

/** What a step gives; the loss and the norm are float scalars. */
export interface StepResult<S> {
  readonly state: S;
  /** Scalars; where one is not finite, `state` is the old state. */
  readonly loss: Tensor;
  readonly norm: Tensor;
}

/** `learningRate` is a number that may change from call to call. */
type Step<S, B> = (state: S, batch: B, learningRate: number, key: Key) => StepResult<S>;

/** The step of a task, compiled at its first call. The state that it is given is donated: use the one that it returns.
 *
 *  @param clipNorm  gradients of a larger global norm are scaled down to it; Infinity leaves them as they are
 *  @example const step = trainStep(task, 1); const { state: next, loss } = step(state, batch, 3e-4, key(0)); */
export function trainStep<M, S extends TrainState<M>, B>(
  task: Pick<Task<M, S, B>, "loss" | "optimizer">,
  clipNorm: number,
): Step<S, B> {
  const step: Step<S, B> = (state, batch, learningRate, key) => {
    const [loss, raw] = valueAndGrad((model: M) => task.loss(model, batch, { train: true, key }))(state.model);
    const { grads, norm } = optim.clipByGlobalNorm(raw, clipNorm);
    const next = task.optimizer.update(state, grads, { learningRate });
    const good = loss.isFinite().and(norm.isFinite());
    return { state: tree.map((now, before) => where(good, now, before), next, state), loss, norm };
  };
  return jit(step, { donate: [0] });
}

/** Where the first NaN or infinity is: in a parameter, otherwise in the gradient of one. Called when a step was refused, so
 *  it may take its time.
 *
 *  @returns  words for a message: `parameter model.norm.weight is not finite` */
export async function findNonFinite<M, S extends TrainState<M>, B>(
  task: Pick<Task<M, S, B>, "loss">,
  model: M,
  batch: B,
  key: Key,
): Promise<string> {
  const parameter = await firstNonFinite(model);
  if (parameter !== undefined) return `parameter ${parameter} is not finite`;
  const [, gradients] = valueAndGrad((m: M) => task.loss(m, batch, { train: true, key }))(model);
  const gradient = await firstNonFinite(gradients);
  if (gradient !== undefined) return `the gradient of ${gradient} is the first that is not finite`;
  return "every single gradient is finite, the loss or the sum of their squares is not";
}

async function firstNonFinite(of: unknown): Promise<string | undefined> {
  for (const { path, tensor } of tree.tensors(of)) {
    if ((await tensor.isFinite().all().item()) === 0) return path;
  }
  return undefined;
}
