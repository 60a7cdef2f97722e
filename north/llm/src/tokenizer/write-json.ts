/** Writing a tokenizer as the `tokenizer.json` of the Hugging Face `tokenizers` library: same fields, same order. */

import { patternSources } from "./pretokenize.ts";
import type { Pattern } from "./pretokenize.ts";
import type { BpeModel } from "./tokenizer.ts";

/** The content of a `tokenizer.json`: plain JSON values. */
export interface TokenizerJson {
  readonly version: "1.0";
  readonly truncation: null;
  readonly padding: null;
  readonly added_tokens: readonly AddedTokenJson[];
  readonly normalizer: unknown;
  readonly pre_tokenizer: unknown;
  readonly post_processor: unknown;
  readonly decoder: unknown;
  readonly model: {
    readonly type: "BPE";
    readonly dropout: null;
    readonly unk_token: string | null;
    readonly continuing_subword_prefix: string | null;
    readonly end_of_word_suffix: string | null;
    readonly fuse_unk: boolean;
    readonly byte_fallback: boolean;
    readonly ignore_merges: boolean;
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (readonly [string, string])[];
  };
}

interface AddedTokenJson {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

export function tokenizerToJson(model: BpeModel): TokenizerJson {
  const { tokens, pairs, results, addedTokens, outside, flags } = model;
  const token = (id: number | undefined): string => tokens[id ?? -1] ?? "";
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [...addedTokens]
      .sort((a, b) => a.id - b.id)
      .map(({ id, content, singleWord, lstrip, rstrip, normalized, special }) => ({
        id,
        content,
        single_word: singleWord,
        lstrip,
        rstrip,
        normalized,
        special,
      })),
    normalizer: model.normalizer ? model.normalizer.source : null,
    pre_tokenizer: model.preTokenizer.source,
    post_processor: model.postProcessor ? model.postProcessor.source : null,
    decoder: model.decoder.source,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: flags.unkToken,
      continuing_subword_prefix: flags.prefix,
      end_of_word_suffix: flags.suffix,
      fuse_unk: flags.fuseUnk,
      byte_fallback: flags.byteFallback,
      ignore_merges: flags.ignoreMerges,
      // fromEntries defines the keys, so that a token named __proto__ stays a token.
      vocab: Object.fromEntries(
        tokens.flatMap((text, id) => (text === undefined || outside.has(id) ? [] : [[text, id] as const])),
      ),
      merges: Array.from(results, (_, rank) => [token(pairs[2 * rank]), token(pairs[2 * rank + 1])] as const),
    },
  };
}

/** The `pre_tokenizer` of a byte-level vocabulary that is trained here. */
export function preTokenizerJson(pattern: Pattern): unknown {
  if (pattern === "gpt2" || pattern === "none") return byteLevelJson(false, pattern === "gpt2");
  const split = { type: "Split", pattern: { Regex: patternSources[pattern] }, behavior: "Isolated", invert: false };
  return { type: "Sequence", pretokenizers: [split, byteLevelJson(false, false)] };
}

export function byteLevelJson(addPrefixSpace: boolean, useRegex: boolean): unknown {
  return { type: "ByteLevel", add_prefix_space: addPrefixSpace, trim_offsets: true, use_regex: useRegex };
}
