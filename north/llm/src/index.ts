/** Language models: LLaMA, tokenizers, generation, and what they are compared with. */

export * from "./baselines/index.ts";
export {
  type Activation,
  type LlamaConfig,
  llamaConfig,
  llamaConfigFromJson,
  llamaConfigToJson,
  llamaPresets,
} from "./config.ts";
export type { ModelType } from "./config/families.ts";
export type { Rope, RopeScaling } from "./config/rope.ts";
export { evaluateText, type EvaluateOptions, type TextEvaluation } from "./evaluate.ts";
export * from "./generate/index.ts";
export * from "./model/index.ts";
export * from "./tokenizer/index.ts";
export { Trainer, type TrainerOptions } from "./trainer.ts";
export type {
  DoneEvent,
  Reports,
  StartEvent,
  TrainCall,
  TrainerCallback,
  TrainerEvent,
  TrainerRun,
  TrainerView,
  TrainResult,
} from "./trainer-events.ts";
export type { Keep, LearningOptions, OptimizerOption, ScheduleOption } from "./trainer-learning.ts";
export { type Loaded, loadTrained } from "./trainer-load.ts";
export { sampleEvery } from "./trainer-samples.ts";
export type { RunOptions, TextFiles, TextSource } from "./trainer-options.ts";
export * from "./weights/index.ts";
