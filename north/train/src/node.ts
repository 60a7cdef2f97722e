/** The parts of training that need Node: files, threads and signals. */
export { cacheDirectory, findTexts, nativeSha256 } from "./data/find-texts.ts";
export { threadSource } from "./data/thread-source.ts";
export { nodeFiles } from "./files/index.ts";
export { type Interrupt, interrupted, onInterrupt } from "./interrupt.ts";
