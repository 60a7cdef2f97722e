/** Text from a model, token by token as it is made. */

import { ArgumentError } from "sinan";
import type { Llama } from "../model/llama.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { checkSampling, checkTokens, type Sampling, Session } from "./session.ts";

export interface GenerateOptions extends Sampling {
  /** The most tokens to make. Default 64. */
  readonly maxTokens?: number;
  /** Tokens that end the text; they are not given out. Default: those of the model's configuration. */
  readonly stopIds?: readonly number[];
}

/** The tokens after a prompt, one by one. Leaving the loop frees the cache.
 *
 *  @param prompt  at least one id
 *  @throws ArgumentError at once for an empty prompt, an id outside the vocabulary, options outside their range, or a prompt
 *    that with `maxTokens` is longer than the model's positions
 *  @example for await (const id of generate(model, [1, 15, 7], { maxTokens: 20, temperature: 0.8, seed: 1 })) … */
export function generate(
  model: Llama,
  prompt: ArrayLike<number>,
  { maxTokens = 64, stopIds = model.config.eosTokenIds, temperature = 0, seed = 0 }: GenerateOptions = {},
): AsyncGenerator<number, void, undefined> {
  const tokens = Array.from(prompt);
  const most = model.config.maxPositionEmbeddings;
  checkTokens(tokens, model.config.vocabSize);
  checkSampling({ temperature, seed });
  if (!Number.isInteger(maxTokens) || maxTokens < 1)
    throw new ArgumentError(`maxTokens: expected a whole number of at least 1, got ${maxTokens}`);
  if (tokens.length + maxTokens > most)
    throw new ArgumentError(
      `generate: a prompt of ${tokens.length} tokens and ${maxTokens} new ones are more than the model's ${most} positions`,
      {
        hint:
          tokens.length < most
            ? `ask for at most ${most - tokens.length} tokens, or shorten the prompt`
            : "shorten the prompt",
      },
    );
  return decode(model, tokens, maxTokens, new Set(stopIds), { temperature, seed });
}

async function* decode(
  model: Llama,
  prompt: readonly number[],
  maxTokens: number,
  stop: ReadonlySet<number>,
  sampling: Sampling,
): AsyncGenerator<number, void, undefined> {
  const session = new Session(model, { capacity: prompt.length + maxTokens });
  try {
    let fed = prompt;
    for (let made = 0; made < maxTokens; made++) {
      const token = await session.next(fed, sampling);
      if (stop.has(token)) return;
      yield token;
      fed = [token];
    }
  } finally {
    session.dispose();
  }
}

/** The text after a prompt, piece by piece; pieces are whole characters. Special tokens are left out.
 *
 *  @throws ArgumentError as `generate`
 *  @example for await (const piece of generateText(model, tokenizer, "Call me")) process.stdout.write(piece); */
export function generateText(
  model: Llama,
  tokenizer: Tokenizer,
  prompt: string,
  options: GenerateOptions = {},
): AsyncGenerator<string, void, undefined> {
  const ids = tokenizer.encode(prompt, { addSpecialTokens: true });
  return pieces(tokenizer, generate(model, ids, options));
}

async function* pieces(tokenizer: Tokenizer, ids: AsyncIterable<number>): AsyncGenerator<string, void, undefined> {
  const decoder = tokenizer.streamDecoder({ skipSpecialTokens: true });
  for await (const id of ids) {
    const piece = decoder.push(id);
    if (piece !== "") yield piece;
  }
  const rest = decoder.end();
  if (rest !== "") yield rest;
}
