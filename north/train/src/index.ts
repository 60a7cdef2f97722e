/** Training: the loop, its step, what it saves and what it shows. What needs Node is in `@sinan/train/node`. */
export type {
  BuildEvent,
  CheckpointEvent,
  EvalEvent,
  Report,
  ReportedEvent,
  SampleEvent,
  SkipEvent,
  StepEvent,
  TrainEvent,
  WarningEvent,
} from "./events.ts";
export { type DocumentOptions, type DocumentPart, documentsOf } from "./data/documents.ts";
export type { Encoder } from "./data/encode-parts.ts";
export { type ReadAhead, readAhead } from "./data/read-ahead.ts";
export { isGzip } from "./data/gunzip.ts";
export { blobFile, type BlobLike, isJsonLines, type TextFile, textFile } from "./data/text-file.ts";
export { openTokens, type TokenCacheOptions, type Tokens } from "./data/token-cache.ts";
export type { SourceRecord, TokenFile, TokenRecord } from "./data/token-file.ts";
export { type Source, type SourceOptions, type TokenSource, tokenSource } from "./data/token-source.ts";
export { train } from "./loop.ts";
export { findNonFinite, type NonFiniteAt } from "./nonfinite.ts";
export type { Callback, EarlyStop, Outcome, Policy, RunView, SpikePolicy, TrainOptions } from "./options.ts";
export { type PlanOptions, planRun, type RunBytes, type RunPlan } from "./plan.ts";
export { bytes, clock, grouped, type Painter, painter } from "./reports/figures.ts";
export { htmlReport, type HtmlOptions } from "./reports/html.ts";
export { jsonLine } from "./reports/json-line.ts";
export { pageOf } from "./reports/page.ts";
export {
  type RunData,
  type RunNote,
  type RunRecord,
  runRecord,
  type RunRecordOptions,
  type RunSample,
} from "./reports/record.ts";
export { type MemoryEvent, reportAll, type ReportAllOptions } from "./reports/report.ts";
export type { Out } from "./reports/screen.ts";
export type { SeriesData } from "./reports/series.ts";
export { terminalReport, type TerminalOptions } from "./reports/terminal.ts";
export {
  beginRun,
  evaluate,
  goesOn,
  isDue,
  lossLimit,
  nextBatch,
  outcome,
  recover,
  refusal,
  type Run,
  save,
  taken,
  tell,
} from "./run.ts";
export { checkFacts, factsOf, type Progress as RunProgress, readRecord, type TrainerRecord } from "./saved.ts";
export type { Precision, Scaling } from "./scaling.ts";
export { firstState, type Running, type StepInputs, type StepOptions, type StepResult, trainStep } from "./step.ts";
export type { Evaluation, Facts, Optimizer, StepContext, Task, TrainState, WeighedLoss } from "./task.ts";
