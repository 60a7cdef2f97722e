/** Language models: LLaMA, tokenizers, generation, and what they are compared with. */

export * from "./baselines/index.ts";
export {
  type LlamaConfig,
  llamaConfig,
  llamaConfigFromJson,
  llamaConfigToJson,
  llamaPresets,
  parameterCount,
} from "./config.ts";
export * from "./generate/index.ts";
export * from "./model/index.ts";
export * from "./tokenizer/index.ts";
export {
  type DoneEvent,
  type StartEvent,
  type TrainCall,
  Trainer,
  type TrainerEvent,
  type TrainerOptions,
  type TrainResult,
} from "./trainer.ts";
export { type Loaded, loadTrained } from "./trainer-load.ts";
export type { RunOptions, TextSource } from "./trainer-options.ts";
export * from "./weights/index.ts";
