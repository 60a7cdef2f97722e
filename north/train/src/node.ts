/** The parts of training that need Node: files, threads, reports that are appended to files, and signals. */
export { cacheDirectory, findTexts } from "./data/find-texts.ts";
export { nativeSha256 } from "./files/native-sha256.ts";
export { threadSource } from "./data/thread-source.ts";
export { nodeFiles } from "./files/index.ts";
export { type Interrupt, interrupted, type InterruptOptions, onInterrupt } from "./interrupt.ts";
export { jsonlReport, type JsonlOptions } from "./reports/jsonl.ts";
export { tensorboardReport, type TensorboardOptions } from "./reports/tensorboard.ts";
