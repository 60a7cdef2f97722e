/** What generation can be asked for, and what it refuses. */
import { ArgumentError } from "sinan";

/** How the next token is chosen. What `transformers` calls processors is applied in its order: repetition penalty, temperature,
 *  top-k, top-p, min-p; all but the first only where a token is drawn. */
export interface Sampling {
  /** 0 takes the likeliest token; above, the logits are divided by it and one is drawn. Default 0. */
  readonly temperature?: number;
  /** Draw from the k likeliest tokens (and those as likely as the last of them); 0 is all. Default 0.
   *  @see Fan et al. 2018, arXiv:1805.04833, section 5.1 */
  readonly topK?: number;
  /** Draw from the fewest likeliest tokens whose probabilities add up to p (and those as likely as the last); 1 is all. Default 1.
   *  @see Holtzman et al. 2020, arXiv:1904.09751, section 3.1 */
  readonly topP?: number;
  /** Draw from the tokens at least so many times as likely as the likeliest; 0 is all. Default 0.
   *  @see Nguyen et al. 2024, arXiv:2407.01082 */
  readonly minP?: number;
  /** Logits of tokens that the text has already are divided by it where positive, multiplied where negative. Default 1.
   *  @see Keskar et al. 2019, arXiv:1909.05858, section 4.1 */
  readonly repetitionPenalty?: number;
  /** The same seed draws the same tokens, in a batch or alone. Each position has a key of its own, so a text that is continued in
   *  another session goes on as it would have. Of several prompts each may have a seed; of one number the first prompt draws
   *  with it, the next with the next. Default 0. */
  readonly seed?: number | readonly number[];
  /** Say how likely the chosen token was, and this many of the likeliest: logarithms of the model's own probabilities, before
   *  anything above. Default: nothing is said. */
  readonly logprobs?: number;
}

/** How the next tokens are chosen, and when that ends. */
export interface GenerateOptions extends Sampling {
  /** The most tokens to make. Default 64. */
  readonly maxTokens?: number;
  /** Tokens that end the text; they are not given out. Default: those of the model's configuration. */
  readonly stopIds?: readonly number[];
  /** Texts that end the text where they first appear, wherever tokens are cut; neither they nor what follows is given out. What
   *  could still become one is held back until it cannot. Default: none. */
  readonly stop?: string | readonly string[];
  /** What happens when the cache is full: a ContextError, or the older half of the text is forgotten and the rest read anew.
   *  Default `"error"`, said before anything runs. */
  readonly overflow?: Overflow;
  /** Aborted, the iteration ends after a last record that says so, and what it took is freed at once. */
  readonly signal?: AbortSignal;
}

/** What happens where the model has no more positions. */
export type Overflow = "error" | "slide";

/** A text is longer than the positions that there are for it. */
export class ContextError extends ArgumentError {}

/** All of a sampling, with a value each. */
export interface SamplingSettings extends Required<Omit<Sampling, "logprobs" | "seed">> {
  readonly seeds: readonly number[];
  readonly logprobs: number | null;
}

const ranges = {
  temperature: { least: 0, most: 1e6, whole: false },
  topK: { least: 0, most: 2 ** 24, whole: true },
  topP: { least: 0, most: 1, whole: false },
  minP: { least: 0, most: 1, whole: false },
  repetitionPenalty: { least: Number.MIN_VALUE, most: 1e6, whole: false },
  logprobs: { least: 0, most: 2 ** 24, whole: true },
  maxTokens: { least: 1, most: Number.MAX_SAFE_INTEGER, whole: true },
  seed: { least: 0, most: Number.MAX_SAFE_INTEGER, whole: true },
} as const;

function check(name: keyof typeof ranges, value: unknown): void {
  const { least, most, whole } = ranges[name];
  if (typeof value === "number" && value >= least && value <= most && (!whole || Number.isSafeInteger(value))) return;
  const from = least === Number.MIN_VALUE ? "above 0" : `of at least ${least}`;
  throw new ArgumentError(
    `${name}: expected a ${whole ? "whole " : ""}number ${from} and at most ${most}, got ${typeof value === "string" ? JSON.stringify(value) : String(value)}`,
  );
}

/** @throws ArgumentError naming the option, what it may be and what came */
export function samplingOf(sampling: Sampling, rows: number, vocabulary: number): SamplingSettings {
  const { temperature = 0, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, seed = 0, logprobs } = sampling;
  const numbers = { temperature, topK, topP, minP, repetitionPenalty };
  for (const [name, value] of Object.entries(numbers)) check(name as keyof typeof numbers, value);
  if (logprobs !== undefined) check("logprobs", logprobs);
  if (logprobs !== undefined && logprobs > vocabulary)
    throw new ArgumentError(`logprobs: expected at most the vocabulary's ${vocabulary}, got ${logprobs}`);
  const given: unknown = seed;
  if (!Array.isArray(given)) check("seed", given);
  const seeds: readonly number[] =
    typeof seed === "number" ? Array.from({ length: rows }, (_, r) => seed + r) : [...seed];
  if (seeds.length !== rows)
    throw new ArgumentError(`seed: expected one number or one for each of ${rows} prompts, got ${seeds.length}`);
  for (const each of seeds) check("seed", each);
  return { ...numbers, topK: Math.min(topK, vocabulary), seeds, logprobs: logprobs ?? null };
}

/** What ends a text, checked. */
export interface Ending {
  readonly maxTokens: number;
  readonly stopIds: ReadonlySet<number>;
  readonly stop: readonly string[];
}

/** @throws ArgumentError */
export function endingOf({ maxTokens = 64, stopIds = [], stop = [], overflow }: GenerateOptions): Ending {
  check("maxTokens", maxTokens);
  const texts = typeof stop === "string" ? [stop] : [...stop];
  for (const text of texts)
    if (typeof text !== "string" || text === "")
      throw new ArgumentError(`stop: expected texts that are not empty, got ${JSON.stringify(text)}`);
  for (const id of stopIds)
    if (!Number.isSafeInteger(id) || id < 0)
      throw new ArgumentError(`stopIds: expected whole numbers of at least 0, got ${String(id)}`);
  checkOverflow(overflow);
  return { maxTokens, stopIds: new Set(stopIds), stop: texts };
}

/** @throws ArgumentError */
export function checkOverflow(overflow: Overflow = "error"): Overflow {
  if (["error", "slide"].includes(overflow)) return overflow;
  throw new ArgumentError(`overflow: expected "error" or "slide", got ${JSON.stringify(overflow)}`);
}

/** @throws ArgumentError */
export function checkTokens(tokens: readonly number[], vocabulary: number): void {
  if (tokens.length === 0)
    throw new ArgumentError("generation needs at least one token to begin with", {
      hint: "give a prompt, or the token that begins a text",
    });
  for (const id of tokens)
    if (!Number.isInteger(id) || id < 0 || id >= vocabulary)
      throw new ArgumentError(`a token's id is a whole number below ${vocabulary}, got ${id}`, {
        hint: "Is this the tokenizer that the model was trained with?",
      });
}
