/** Text from a model, token by token as it is made. */
import type { Llama } from "../model/llama.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { checkRequest, decodeAlone, noText, type Piece, type Reader } from "./decode.ts";
import { endingOf, type GenerateOptions } from "./options.ts";
import { stopScanner } from "./stop.ts";

/** The tokens after a prompt, one by one. Leaving the loop frees the cache.
 *
 *  @param prompt  at least one id
 *  @throws ArgumentError at once for an empty prompt, an id outside the vocabulary or options outside their range; ContextError for a
 *    prompt that with `maxTokens` is longer than the model's positions
 *  @example for await (const id of generate(model, [1, 15, 7], { maxTokens: 20, temperature: 0.8, seed: 1 })) … */
export function generate(
  model: Llama,
  prompt: ArrayLike<number>,
  options: Omit<GenerateOptions, "stop" | "logprobs"> = {},
): AsyncGenerator<number, void, undefined> {
  const tokens = Array.from(prompt);
  checkRequest(model, [tokens], options);
  return ids(decodeAlone(model, [tokens], [noText], options));
}

async function* ids(pieces: AsyncIterable<Piece>): AsyncGenerator<number, void, undefined> {
  for await (const { id, finish } of pieces) if (id !== null && finish !== "stop") yield id;
}

/** The text after a prompt, piece by piece; pieces are whole characters. Special tokens are left out.
 *
 *  @throws ArgumentError, ContextError as `generate`
 *  @example for await (const piece of generateText(model, tokenizer, "Call me")) process.stdout.write(piece); */
export function generateText(
  model: Llama,
  tokenizer: Tokenizer,
  prompt: string,
  options: GenerateOptions = {},
): AsyncGenerator<string, void, undefined> {
  return texts(generateStream(model, tokenizer, prompt, options));
}

async function* texts(pieces: AsyncIterable<Piece>): AsyncGenerator<string, void, undefined> {
  for await (const { text } of pieces) if (text !== "") yield text;
}

/** The texts after one or several prompts: a record for each token, with its text as far as that is certain, and in the last record of
 *  a text why it ended. Prompts of any lengths go through the model together, and each gives the tokens that it gives alone.
 *
 *  @throws ArgumentError, ContextError as `generate`
 *  @example
 *  for await (const { row, text, finish } of generateStream(model, tokenizer, ["Call me", "The"], { stop: "\n" }))
 *    if (row === 0) process.stdout.write(finish ? `${text} (${finish})` : text); */
export function generateStream(
  model: Llama,
  tokenizer: Tokenizer,
  prompts: string | readonly string[],
  options: GenerateOptions = {},
): AsyncGenerator<Piece, void, undefined> {
  const all = typeof prompts === "string" ? [prompts] : prompts;
  const tokens = all.map((prompt) => Array.from(tokenizer.encode(prompt, { addSpecialTokens: true })));
  checkRequest(model, tokens, options);
  const readers = all.map(() => textReader(tokenizer, endingOf(options).stop));
  return decodeAlone(model, tokens, readers, options);
}

/** Tokens as text: characters when they are whole, without special tokens, up to a stop string. */
export function textReader(tokenizer: Tokenizer, stop: readonly string[]): Reader {
  const decoder = tokenizer.streamDecoder({ skipSpecialTokens: true });
  const scanner = stopScanner(stop);
  return {
    push: (id) => scanner.push(decoder.push(id)),
    end: () => {
      const { text, isStopped } = scanner.push(decoder.end());
      return isStopped ? text : text + scanner.end();
    },
  };
}
