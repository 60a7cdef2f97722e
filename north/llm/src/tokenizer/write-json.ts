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
  readonly normalizer: { readonly type: "NFC" } | null;
  readonly pre_tokenizer: unknown;
  readonly post_processor: unknown;
  readonly decoder: unknown;
  readonly model: {
    readonly type: "BPE";
    readonly dropout: null;
    readonly unk_token: null;
    readonly continuing_subword_prefix: null;
    readonly end_of_word_suffix: null;
    readonly fuse_unk: false;
    readonly byte_fallback: false;
    readonly ignore_merges: boolean;
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (readonly [string, string])[];
  };
}

interface AddedTokenJson {
  readonly id: number;
  readonly content: string;
  readonly single_word: false;
  readonly lstrip: false;
  readonly rstrip: false;
  readonly normalized: boolean;
  readonly special: boolean;
}

export function tokenizerToJson(model: BpeModel): TokenizerJson {
  const { tokens, merges, addedTokens, pattern, outside } = model;
  const token = (id: number): string => tokens[id] ?? "";
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [...addedTokens]
      .sort((a, b) => a.id - b.id)
      .map(({ id, content, normalized, special }) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized,
        special,
      })),
    normalizer: model.normalizer ? { type: model.normalizer } : null,
    pre_tokenizer: preTokenizerJson(pattern, model.addPrefixSpace ?? false),
    post_processor: model.postProcessor ? model.postProcessor.source : null,
    decoder: byteLevel(true, true),
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: model.ignoreMerges ?? false,
      // fromEntries defines the keys, so that a token named __proto__ stays a token.
      vocab: Object.fromEntries(tokens.map((text, id) => [text, id] as const).filter(([, id]) => !outside?.has(id))),
      merges: merges.map(([left, right]) => [token(left), token(right)]),
    },
  };
}

function preTokenizerJson(pattern: Pattern, addPrefixSpace: boolean): unknown {
  if (pattern === "gpt2" || pattern === "none") return byteLevel(addPrefixSpace, pattern === "gpt2");
  const split = { type: "Split", pattern: { Regex: patternSources[pattern] }, behavior: "Isolated", invert: false };
  return { type: "Sequence", pretokenizers: [split, byteLevel(false, false)] };
}

function byteLevel(addPrefixSpace: boolean, useRegex: boolean): unknown {
  return { type: "ByteLevel", add_prefix_space: addPrefixSpace, trim_offsets: true, use_regex: useRegex };
}
