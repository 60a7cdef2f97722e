/** Byte-level BPE: trained here, read and written as the `tokenizer.json` of the Hugging Face library. */

export { patternSources } from "./pretokenize.ts";
export type { Pattern } from "./pretokenize.ts";
export { tokenizerFromJson } from "./read-json.ts";
export type { AddedToken, DecodeOptions, EncodeOptions, StreamDecoder, Tokenizer } from "./tokenizer.ts";
export { linesWithEndings, trainBpe } from "./train.ts";
export type { BpeOptions } from "./train.ts";
export type { TokenizerJson } from "./write-json.ts";
