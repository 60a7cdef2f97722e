/** What a training run is made of: the types that the loop, the checkpoints and the displays share. What it tells is in `events.ts`. */
import type { Json, Key, Tensor } from "sinan";

/** All that a step changes: a tree of tensors with the model in it. Each step takes it and gives the next. */
export interface TrainState<M> {
  readonly model: M;
}

/** How parameters move: `optim.adamW` and `optim.sgd` are such. */
export interface Optimizer<M, S extends TrainState<M>> {
  init(model: M): S;
  update(state: S, gradients: M, options: { readonly learningRate: number | Tensor }): S;
  /** Parameters that get no gradient, if there are such. */
  isFrozen?(path: string, parameter: Tensor): boolean;
}

/** What the loss is told beside the batch: hand it on to the model. */
export interface StepContext {
  readonly train: true;
  /** For dropout; it differs in each step. */
  readonly key: Key;
  /** Of a micro-batch: the numbers of its examples in the whole batch. */
  readonly examples?: Tensor;
  /** Where layers leave their new running statistics, by path; the step puts them into the model. */
  readonly updates?: Record<string, Tensor>;
}

/** A loss added up over what it is the mean of, such as tokens: batches of any cut then have the mean of the whole. */
export interface WeighedLoss {
  /** Float scalar. */
  readonly total: Tensor;
  /** What the total is divided by: the number of tokens that count, a scalar. */
  readonly weight: Tensor;
}

/** What is to be learned. `batch` and `rate` are functions of a number alone (0 for the first): that is what makes a resumed
 *  run equal to one that never stopped. */
export interface Task<M, S extends TrainState<M>, B> {
  readonly model: M;
  readonly optimizer: Optimizer<M, S>;
  /** The mean over the batch, a float scalar; or its two parts, where micro-batches may hold different numbers of tokens. */
  loss(model: M, batch: B, context: StepContext): Tensor | WeighedLoss;
  /** Batch n of the data, at once or once it was read. */
  batch(n: number): B | Promise<B>;
  /** What is in batch n, for messages: numbers of documents, rows of a file. */
  ids?(n: number): readonly (string | number)[];
  /** The learning rate of a step. */
  rate(step: number): number;
  /** What a step counts for in tokens per second. */
  readonly tokensPerStep: number;
  /** Measures the model on data that it does not learn from. One that takes long gives way between its batches (`hostTurn`), so that
   *  signals arrive, and throws the signal's reason once that is aborted: what it has so far is dropped.
   *  @param signal  that of the run, if it has one */
  evaluate?(model: M, signal?: AbortSignal): Promise<Evaluation>;
}

/** What was measured on data that the model does not learn from. */
export interface Evaluation {
  /** Mean negative log-likelihood of a token, natural logarithm. */
  readonly loss: number;
  readonly bitsPerByte?: number;
}

/** Facts of a run that must be the same when it is resumed, by the name that an error gives them. */
export type Facts = Readonly<Record<string, Json>>;
