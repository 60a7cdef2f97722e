/** One training step as one compiled call: loss, gradient, clipping by global norm, update, and the guard that keeps the old
 *  state when loss or gradient is not finite. */
import { div, jit, type Key, minimum, type Operand, Tensor, tree, valueAndGrad, where } from "sinan";
import type { Task, TrainState } from "./task.ts";

export interface StepResult<M, S> {
  readonly state: TrainState<M, S>;
  /** f32 scalars; where one is not finite, `state` is the old state. */
  readonly loss: Tensor;
  readonly norm: Tensor;
}

type Step<M, S, B> = (state: TrainState<M, S>, batch: B, rate: Operand, key: Key) => StepResult<M, S>;

/** The step of a task, compiled at its first call. The state that it is given is donated: use the one that it returns.
 *
 *  @param clipNorm  gradients of a larger global norm are scaled down to it; Infinity leaves them as they are
 *  @see Pascanu, Mikolov & Bengio 2013, arXiv:1211.5063, algorithm 1 (clipping) */
export function trainStep<M, S, B>({ loss, optimizer }: Pick<Task<M, S, B>, "loss" | "optimizer">, clipNorm: number): Step<M, S, B> {
  const step: Step<M, S, B> = (state, batch, rate, key) => {
    const [value, gradients] = valueAndGrad((model: M) => loss(model, batch, { train: true, key }))(state.model);
    const norm = globalNorm(gradients);
    const clipped = Number.isFinite(clipNorm) ? scaled(gradients, minimum(div(clipNorm, norm.add(1e-6)), 1)) : gradients;
    const next = optimizer.update(state.model, clipped, state.optimizer, rate);
    const good = value.isFinite().and(norm.isFinite());
    const kept = tree.map((now, before) => where(good, now, before), { model: next.model, optimizer: next.state }, state);
    return { state: kept, loss: value, norm };
  };
  return jit(step, { donate: [0] });
}

/** Square root of the sum of all squares, f32. */
export function globalNorm(gradients: unknown): Tensor {
  const squares = tree.tensors(gradients).map(({ tensor }) => tensor.cast("f32").square().sum());
  return squares.reduce((sum, s) => sum.add(s)).sqrt();
}

const scaled = <T>(gradients: T, factor: Tensor): T => tree.map((g) => g.mul(factor.cast(g.dtype)), gradients);

/** Where the first NaN or infinity is: in a parameter, otherwise in the gradient of one. Called when a step was refused, so
 *  it may take its time.
 *
 *  @returns  words for a message: `parameter model.norm.weight is not finite` */
export async function findNonFinite<M, S, B>(task: Pick<Task<M, S, B>, "loss">, model: M, batch: B, key: Key): Promise<string> {
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
