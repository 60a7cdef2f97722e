/** What a training run is made of, and what it tells while it goes on: the types that the loop, the checkpoints and the
 *  progress display share. */
import type { Json, Key, Operand, Tensor } from "sinan";

/** How parameters move. `M` and `S` are trees of tensors. */
export interface Optimizer<M, S> {
  init(model: M): S;
  /** The next model and state from gradients that are already clipped. `rate` is a number, or a scalar tensor in a trace. */
  update(model: M, gradients: M, state: S, rate: Operand): { readonly model: M; readonly state: S };
}

/** All that a step changes: a tree of tensors, given up to the step that takes it. */
export interface TrainState<M, S> {
  readonly model: M;
  readonly optimizer: S;
}

/** What is to be learned. `batch` and `rate` are functions of the step alone (0 for the first): that is what makes a resumed
 *  run equal to one that never stopped. */
export interface Task<M, S, B> {
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
