/** Weights in files. */

export { loadLlama, saveLlama } from "./files.ts";
export { llamaFromStored, storedWeights } from "./stored.ts";
