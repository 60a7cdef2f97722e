/** Training: the loop, its step, what it saves and what it shows. What needs Node is in `@sinan/train/node`. */
export type {
  CheckpointEvent,
  EvalEvent,
  Report,
  ReportedEvent,
  SampleEvent,
  StepEvent,
  TrainEvent,
  WarningEvent,
} from "./events.ts";
export { type Outcome, train, type TrainOptions } from "./loop.ts";
export { type PlanOptions, planRun, type RunBytes, type RunPlan } from "./plan.ts";
export { grouped, jsonLine, type Out, painter, type Progress, progress, type ProgressOptions } from "./progress.ts";
export { checkFacts, readRecord, type TrainerRecord } from "./saved.ts";
export { findNonFinite, type StepResult, trainStep } from "./step.ts";
export type { Evaluation, Facts, Optimizer, Task, TrainState } from "./task.ts";
