/** Weights in files. */

export { loadLlama, saveLlama, type SaveOptions } from "./files.ts";
export { llamaFromStored, storedWeights, type WeightDType } from "./stored.ts";
