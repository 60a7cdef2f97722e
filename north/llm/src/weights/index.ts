/** Weights in files. */

export { loadLlama } from "./files.ts";
export { saveLlama, type SaveOptions } from "./save.ts";
export { llamaFromStored, storedWeights, type WeightDType } from "./stored.ts";
