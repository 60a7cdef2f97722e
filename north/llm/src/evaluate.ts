/** A trained model measured on a text that it was not trained on. */
import { ArgumentError } from "sinan";
import type { Llama } from "./model/llama.ts";
import type { Tokenizer } from "./tokenizer/tokenizer.ts";
import { heldOutLoss } from "./trainer-corpus.ts";

/** How a text is cut for measuring. */
export interface EvaluateOptions {
  /** Tokens in a window. Default: the model's positions, at most 256. */
  readonly seqLen?: number;
  /** Windows side by side. Default 8. */
  readonly batchSize?: number;
}

/** What was measured on a text. */
export interface TextEvaluation {
  /** Tokens that were predicted. */
  readonly tokens: number;
  /** UTF-8 bytes that they stand for. */
  readonly bytes: number;
  /** Mean of −ln p of a token, in nats. */
  readonly loss: number;
  /** e to the loss: depends on the tokenizer. */
  readonly perplexity: number;
  /** Comparable between tokenizers. */
  readonly bitsPerByte: number;
}

/** How well a model predicts a text: every token once, in windows that overlap by half, of which the later half counts. Where the
 *  tokenizer puts a token before texts the first one is predicted from that, else the second from the first.
 *
 *  @throws ArgumentError for a text of less than two tokens, or windows that the model has no positions for
 *  @example const { bitsPerByte } = await evaluateText(model, tokenizer, "Call me Ishmael.") */
export async function evaluateText(
  model: Llama,
  tokenizer: Tokenizer,
  text: string,
  { seqLen = Math.min(256, model.config.maxPositionEmbeddings), batchSize = 8 }: EvaluateOptions = {},
): Promise<TextEvaluation> {
  const { maxPositionEmbeddings: most } = model.config;
  if (!Number.isInteger(seqLen) || seqLen < 1 || seqLen > most)
    throw new ArgumentError(`evaluateText: seqLen: expected from 1 to the model's ${most} positions, got ${seqLen}`);
  if (!Number.isInteger(batchSize) || batchSize < 1)
    throw new ArgumentError(`evaluateText: batchSize: expected a whole number of at least 1, got ${batchSize}`);
  const before = tokenizer.encode("", { addSpecialTokens: true }).at(0);
  const ids = tokenizer.encode(text, { specialTokensAsText: true });
  const first = before ?? ids.at(0);
  const heldOutIds = before === undefined ? ids.subarray(1) : ids;
  if (first === undefined || heldOutIds.length === 0)
    throw new ArgumentError(`evaluateText: expected a text of at least two tokens, got ${ids.length}`);
  const bytes = tokenizer.decodeBytes(heldOutIds).length;
  const corpus = { tokenizer, trainIds: Int32Array.of(first), heldOutIds, heldOutBytes: bytes };
  const { loss, bitsPerByte } = await heldOutLoss(corpus, seqLen, batchSize)(model);
  return { tokens: heldOutIds.length, bytes, loss, perplexity: Math.exp(loss), bitsPerByte };
}
