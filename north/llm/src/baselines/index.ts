/** What a trained language model is compared with, and the unit it is measured in. */

export { baselines } from "./baselines.ts";
export type { BaselineOptions, Baselines } from "./baselines.ts";
export { bitsPerByte } from "./bits-per-byte.ts";
export { kneserNey } from "./kneser-ney.ts";
export type { NgramModel, NgramOptions, NgramOrder } from "./kneser-ney.ts";
