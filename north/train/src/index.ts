/** Training: the loop, its step, what it saves and what it shows. What needs Node is in `@sinan/train/node`. */
export { type Outcome, train, type TrainOptions } from "./loop.ts";
export { grouped, jsonLine, type Out, painter, type Progress, progress, type ProgressOptions } from "./progress.ts";
export { checkFacts, readRecord, type TrainerRecord } from "./saved.ts";
export { findNonFinite, type StepResult, trainStep } from "./step.ts";
export type { Evaluation, Facts, Optimizer, Task, TrainEvent, TrainState } from "./task.ts";
