/** Reading the `tokenizer.json` of the Hugging Face `tokenizers` library: every BPE tokenizer, byte-level (GPT-2, LLaMA-3, Qwen)
 *  or over characters (SentencePiece's, as LLaMA-2 and Mistral). Everything is checked before anything is built; what would
 *  give other ids than the library gives is refused by name. */

import { FormatError } from "sinan";
import type { AddedToken } from "./added-tokens.ts";
import type { BpeFlags } from "./bpe.ts";
import { readDecoder } from "./decoder.ts";
import { arrayAt, flagAt, idAt, objectAt, shown, stringAt, unexpected } from "./json-value.ts";
import type { JsonObject } from "./json-value.ts";
import { readNormalizer } from "./normalizer.ts";
import { readPostProcessor } from "./post-processor.ts";
import { readPreTokenizer } from "./pre-tokenizer.ts";
import { createTokenizer } from "./tokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** The tokenizer that a `tokenizer.json` describes: any BPE tokenizer.
 *
 *  @param source the text of the file, or the value parsed from it
 *  @throws FormatError if it is not JSON or not a tokenizer, if fields are missing, of a wrong type or contradict each other,
 *          or if it needs something that is not supported: a model other than BPE (WordPiece, Unigram), dropout,
 *          truncation, padding, a step that the message names, an expression that could take exponential time
 *  @example const tokenizer = tokenizerFromJson(await readFile("tokenizer.json", "utf8")) */
export function tokenizerFromJson(source: unknown): Tokenizer {
  const root = objectAt(typeof source === "string" ? parse(source) : source, "tokenizer.json");
  if (root["version"] !== undefined && root["version"] !== "1.0") {
    throw unexpected("tokenizer.json: version", `"1.0"`, root["version"]);
  }
  absent(root, "truncation", "tokenizer.json", "Set it to null and cut the ids yourself.");
  absent(root, "padding", "tokenizer.json", "Set it to null and pad the ids yourself.");

  const model = objectAt(root["model"], "tokenizer.json: model");
  const flags = readFlags(model);
  const vocabulary = readVocabulary(model["vocab"]);
  if (flags.unkToken !== null && !vocabulary.has(flags.unkToken)) {
    throw unexpected("tokenizer.json: model.unk_token", "a token of model.vocab", flags.unkToken);
  }
  const merges = readMerges(model["merges"], vocabulary, flags.prefix ?? "");
  const addedTokens = readAddedTokens(root["added_tokens"], vocabulary);
  const tokens = tokensById(vocabulary, addedTokens);
  return createTokenizer({
    tokens,
    ...merges,
    flags,
    addedTokens,
    outside: new Set(addedTokens.filter(({ content }) => !vocabulary.has(content)).map(({ id }) => id)),
    normalizer: readNormalizer(root["normalizer"]),
    preTokenizer: readPreTokenizer(root["pre_tokenizer"]),
    decoder: readDecoder(root["decoder"]),
    postProcessor: readPostProcessor(root["post_processor"], tokens),
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FormatError("tokenizer.json: expected JSON, got text that does not parse", {
      hint: `The file may be cut short or be something else; it begins with ${shown(text)}.`,
      cause,
    });
  }
}

/** Refuses a field that is neither absent nor null (nor one of `harmless`). */
function absent(object: JsonObject, key: string, where: string, hint: string, harmless: readonly unknown[] = []): void {
  const value = object[key];
  if (value === undefined || value === null || harmless.includes(value)) return;
  throw unexpected(`${where}: ${key} is not supported`, "null", value, hint);
}

function readFlags(model: JsonObject): BpeFlags {
  const where = "tokenizer.json: model";
  if (model["type"] !== undefined && model["type"] !== "BPE") {
    throw unexpected(
      `${where}.type`,
      `"BPE"`,
      model["type"],
      "Only BPE is supported, not WordPiece, Unigram or others.",
    );
  }
  absent(model, "dropout", where, "Dropout makes ids random; set it to null.", [0]);
  const text = (key: string): string | null => {
    const value = model[key];
    return value === undefined || value === null ? null : stringAt(value, `${where}.${key}`);
  };
  const prefix = text("continuing_subword_prefix");
  if (prefix !== null && !/^[\x20-\x7e]*$/.test(prefix)) {
    throw unexpected(`${where}.continuing_subword_prefix`, "ASCII", prefix);
  }
  return {
    unkToken: text("unk_token"),
    fuseUnk: flagAt(model["fuse_unk"], `${where}.fuse_unk`, false),
    byteFallback: flagAt(model["byte_fallback"], `${where}.byte_fallback`, false),
    ignoreMerges: flagAt(model["ignore_merges"], `${where}.ignore_merges`, false),
    prefix,
    suffix: text("end_of_word_suffix"),
  };
}

function readVocabulary(value: unknown): ReadonlyMap<string, number> {
  const where = "tokenizer.json: model.vocab";
  const vocabulary = new Map<string, number>();
  for (const [token, id] of Object.entries(objectAt(value, where))) {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= 2 ** 24)
      idAt(id, `${where}[${shown(token)}]`);
    else vocabulary.set(token, id);
  }
  return vocabulary;
}

/** Added tokens, in the order of the file. One that the vocabulary lacks takes the next free id, as in the library. */
function readAddedTokens(value: unknown, vocabulary: ReadonlyMap<string, number>): readonly AddedToken[] {
  if (value === undefined || value === null) return [];
  const seen = new Set<string>();
  let free = vocabulary.size;
  return arrayAt(value, "tokenizer.json: added_tokens").map((entry, i): AddedToken => {
    const where = `tokenizer.json: added_tokens[${i}]`;
    const token = objectAt(entry, where);
    const content = stringAt(token["content"], `${where}.content`);
    const id = idAt(token["id"], `${where}.id`);
    if (content === "") throw unexpected(`${where}.content`, "at least one character", content);
    if (!content.isWellFormed()) throw unexpected(`${where}.content`, "text without unpaired surrogates", content);
    if (seen.has(content)) throw new FormatError(`${where}: ${shown(content)} is added twice`, { hint: "Remove one." });
    seen.add(content);
    const known = vocabulary.get(content);
    if (known !== undefined && known !== id) {
      throw new FormatError(`${where}: ${shown(content)} has id ${id} here and ${known} in model.vocab`);
    }
    if (known === undefined && id !== free) {
      throw new FormatError(`${where}: ${shown(content)} has id ${id}, and the next free one is ${free}`, {
        hint: "The library numbers added tokens behind the vocabulary, in their order, without a gap.",
      });
    }
    free = Math.max(free, id + 1);
    const flag = (key: string, absent: boolean): boolean => flagAt(token[key], `${where}.${key}`, absent);
    const special = flag("special", false);
    return {
      id,
      content,
      special,
      normalized: flag("normalized", !special),
      singleWord: flag("single_word", false),
      lstrip: flag("lstrip", false),
      rstrip: flag("rstrip", false),
    };
  });
}

/** Tokens by id. There may be gaps, but not many: a file must not ask for more memory than it is long. */
function tokensById(
  vocabulary: ReadonlyMap<string, number>,
  addedTokens: readonly AddedToken[],
): readonly (string | undefined)[] {
  const all = new Map(vocabulary);
  for (const { content, id } of addedTokens) all.set(content, id);
  const most = 2 * all.size + 1024;
  const tokens: (string | undefined)[] = [];
  for (const [token, id] of all) {
    if (id >= most) {
      throw new FormatError(`tokenizer.json: expected ids below ${most} for ${all.size} tokens, got ${id}`, {
        hint: `It is the id of ${shown(token)}: there is a gap below it.`,
      });
    }
    while (tokens.length <= id) tokens.push(undefined);
    const other = tokens[id];
    if (other !== undefined) {
      throw new FormatError(`tokenizer.json: the id ${id} is given to ${shown(other)} and to ${shown(token)}`);
    }
    tokens[id] = token;
  }
  return tokens;
}

/** Merges, as `"a b"` or as `["a", "b"]`. Of one that is given twice the last counts, as in the library. */
function readMerges(
  value: unknown,
  vocabulary: ReadonlyMap<string, number>,
  prefix: string,
): { pairs: Int32Array; results: Int32Array } {
  const entries = arrayAt(value, "tokenizer.json: model.merges");
  const pairs = new Int32Array(2 * entries.length);
  const results = new Int32Array(entries.length);
  entries.forEach((entry, rank) => {
    const where = `tokenizer.json: model.merges[${rank}]`;
    const parts = typeof entry === "string" ? entry.split(" ") : arrayAt(entry, where);
    if (parts.length !== 2) throw unexpected(where, `two tokens, as "a b" or ["a", "b"]`, entry);
    const left = stringAt(parts[0], where);
    const right = stringAt(parts[1], where);
    const idOf = (token: string): number => {
      const id = vocabulary.get(token);
      if (id === undefined) throw unexpected(where, "tokens of model.vocab", token);
      return id;
    };
    pairs[2 * rank] = idOf(left);
    pairs[2 * rank + 1] = idOf(right);
    results[rank] = idOf(left + right.slice(prefix.length));
  });
  return { pairs, results };
}
