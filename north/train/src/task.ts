/** What a training run is made of, and what it tells while it goes on: the types that the loop, the checkpoints and the
 *  progress display share. */
import type { Json, Key, Tensor } from "sinan";

/** All that a step changes: a tree of tensors with the model in it. Each step takes it and gives the next. */
export interface TrainState<M> {
  readonly model: M;
}

/** How parameters move: `optim.adamW` and `optim.sgd` are such. */
export interface Optimizer<M, S extends TrainState<M>> {
  init(model: M): S;
  update(state: S, gradients: M, options: { readonly learningRate: number | Tensor }): S;
}

/** What is to be learned. `batch` and `rate` are functions of the step alone (0 for the first): that is what makes a resumed
 *  run equal to one that never stopped. */
export interface Task<M, S extends TrainState<M>, B> {
  readonly model: M;
  readonly optimizer: Optimizer<M, S>;
  /** A float scalar. `key` is for dropout; it differs in each step. */
  loss(model: M, batch: B, context: { readonly train: true; readonly key: Key }): Tensor;
  batch(step: number): B;
  rate(step: number): number;
  /** What a step counts for in tokens per second. */
  readonly tokensPerStep: number;
  /** Measures the model on data that it does not learn from. */
  evaluate?(model: M): Promise<Evaluation>;
}

export interface Evaluation {
  /** Mean negative log-likelihood of a token, natural logarithm. */
  readonly loss: number;
  readonly bitsPerByte?: number;
}

/** Facts of a run that must be the same when it is resumed, by the name that an error gives them. */
export type Facts = Readonly<Record<string, Json>>;

export type TrainEvent =
  | {
      readonly event: "step";
      /** Steps that are done: 1 after the first. */
      readonly step: number;
      readonly loss: number;
      /** Global norm of the gradient before clipping. */
      readonly norm: number;
      readonly rate: number;
      readonly tokensPerSecond: number;
    }
  | ({ readonly event: "eval"; readonly step: number } & Evaluation)
  | { readonly event: "checkpoint"; readonly step: number; readonly path: string };
