/** BPE tokenizers: byte-level ones trained here, any of them read from the `tokenizer.json` of the Hugging Face library; chat templates. */

export {
  type ChatMessage,
  type ChatOptions,
  type ChatTemplate,
  chatTemplate,
  loadChatTemplate,
} from "./chat-template.ts";
export { patternSources } from "./pretokenize.ts";
export type { Pattern } from "./pretokenize.ts";
export { tokenizerFromJson } from "./read-json.ts";
export type { AddedToken, DecodeOptions, EncodeOptions, StreamDecoder, Tokenizer } from "./tokenizer.ts";
export { linesWithEndings, trainBpe } from "./train.ts";
export type { BpeOptions } from "./train.ts";
export type { TokenizerJson } from "./write-json.ts";
