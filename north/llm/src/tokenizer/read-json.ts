/** Reading the `tokenizer.json` of the Hugging Face `tokenizers` library: the byte-level BPE of GPT-2, LLaMA-3, Qwen2 and of
 *  what is trained here. Everything is checked before anything is built; what would give other ids than the library gives
 *  is refused by name. */

import { FormatError } from "sinan";
import type { AddedToken } from "./added-tokens.ts";
import { byteCharacters } from "./bytes.ts";
import { arrayAt, flagAt, idAt, objectAt, shown, stringAt, unexpected } from "./json-value.ts";
import type { JsonObject } from "./json-value.ts";
import { PairTable } from "./pair-table.ts";
import { readPostProcessor } from "./post-processor.ts";
import { patternSources } from "./pretokenize.ts";
import type { Pattern } from "./pretokenize.ts";
import { createTokenizer } from "./tokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** The tokenizer that a `tokenizer.json` describes.
 *
 *  @param source the text of the file, or the value parsed from it
 *  @throws FormatError if it is not JSON or not a tokenizer, if fields are missing, of a wrong type or contradict each other,
 *          or if it needs something that is not supported: a model other than BPE over bytes, unknown tokens, byte
 *          fallback, dropout, truncation, padding, a regular expression not in `patternSources`, added tokens that strip
 *  @example const tokenizer = tokenizerFromJson(await readFile("tokenizer.json", "utf8")) */
export function tokenizerFromJson(source: unknown): Tokenizer {
  const root = objectAt(typeof source === "string" ? parse(source) : source, "tokenizer.json");
  if (root["version"] !== undefined && root["version"] !== "1.0") {
    throw unexpected("tokenizer.json: version", `"1.0"`, root["version"]);
  }
  absent(root, "truncation", "tokenizer.json", "Set it to null and cut the ids yourself.");
  absent(root, "padding", "tokenizer.json", "Set it to null and pad the ids yourself.");
  readDecoder(root["decoder"]);

  const model = objectAt(root["model"], "tokenizer.json: model");
  const ignoreMerges = readModelFlags(model);
  const vocabulary = readVocabulary(model["vocab"]);
  const addedTokens = readAddedTokens(root["added_tokens"], vocabulary);
  const tokens = tokensById(vocabulary, addedTokens);
  return createTokenizer({
    tokens,
    merges: readMerges(model["merges"], vocabulary),
    addedTokens,
    ...readPreTokenizer(root["pre_tokenizer"]),
    ignoreMerges,
    normalizer: readNormalizer(root["normalizer"]),
    postProcessor: readPostProcessor(root["post_processor"], tokens),
    outside: new Set(addedTokens.filter(({ content }) => !vocabulary.has(content)).map(({ id }) => id)),
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

function readModelFlags(model: JsonObject): boolean {
  const where = "tokenizer.json: model";
  if (model["type"] !== undefined && model["type"] !== "BPE") {
    throw unexpected(
      `${where}.type`,
      `"BPE"`,
      model["type"],
      "Only byte-level BPE is supported, not WordPiece or Unigram.",
    );
  }
  absent(model, "dropout", where, "Dropout makes ids random; set it to null.", [0]);
  absent(
    model,
    "unk_token",
    where,
    "A byte-level vocabulary has no unknown text; a file with an unknown token is of another kind.",
  );
  absent(model, "continuing_subword_prefix", where, "Only vocabularies without a prefix are supported.", [""]);
  absent(model, "end_of_word_suffix", where, "Only vocabularies without a suffix are supported.", [""]);
  if (flagAt(model["byte_fallback"], `${where}.byte_fallback`, false)) {
    throw unexpected(
      `${where}: byte_fallback is not supported`,
      "false",
      true,
      "It belongs to SentencePiece models (LLaMA-1, -2).",
    );
  }
  flagAt(model["fuse_unk"], `${where}.fuse_unk`, false);
  return flagAt(model["ignore_merges"], `${where}.ignore_merges`, false);
}

function readVocabulary(value: unknown): ReadonlyMap<string, number> {
  const where = "tokenizer.json: model.vocab";
  const vocabulary = new Map<string, number>();
  for (const [token, id] of Object.entries(objectAt(value, where))) {
    if (token === "") throw unexpected(where, "tokens of at least one character", token);
    vocabulary.set(token, idAt(id, `${where}[${shown(token)}]`));
  }
  const missing = byteCharacters.filter((character) => !vocabulary.has(character));
  if (missing.length > 0) {
    throw new FormatError(`${where}: expected a token for each of the 256 bytes, ${missing.length} are missing`, {
      hint: `The first is ${shown(missing[0])}. Without them text would be lost: train with the ByteLevel alphabet.`,
    });
  }
  return vocabulary;
}

function readAddedTokens(value: unknown, vocabulary: ReadonlyMap<string, number>): readonly AddedToken[] {
  if (value === undefined || value === null) return [];
  const seen = new Set<string>();
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
    for (const key of ["single_word", "lstrip", "rstrip"]) {
      if (flagAt(token[key], `${where}.${key}`, false)) {
        throw unexpected(
          `${where}: ${key} is not supported`,
          "false",
          true,
          `It would change the text around ${shown(content)}.`,
        );
      }
    }
    const special = flagAt(token["special"], `${where}.special`, false);
    return { id, content, special, normalized: flagAt(token["normalized"], `${where}.normalized`, !special) };
  });
}

/** Tokens in the order of their ids, which must be 0 to n - 1, each once. */
function tokensById(vocabulary: ReadonlyMap<string, number>, addedTokens: readonly AddedToken[]): readonly string[] {
  const all = new Map(vocabulary);
  for (const { content, id } of addedTokens) all.set(content, id);
  const tokens = Array.from({ length: all.size }, (): string | undefined => undefined);
  for (const [token, id] of all) {
    if (id >= all.size) {
      throw new FormatError(`tokenizer.json: expected ids 0 to ${all.size - 1} for ${all.size} tokens, got ${id}`, {
        hint: `It is the id of ${shown(token)}: there is a gap below it.`,
      });
    }
    const other = tokens[id];
    if (other !== undefined) {
      throw new FormatError(`tokenizer.json: the id ${id} is given to ${shown(other)} and to ${shown(token)}`);
    }
    tokens[id] = token;
  }
  // As many distinct ids below n as there are tokens: every place is filled.
  return tokens.filter((token) => token !== undefined);
}

function readMerges(value: unknown, vocabulary: ReadonlyMap<string, number>): readonly (readonly [number, number])[] {
  const pairs = new PairTable();
  return arrayAt(value, "tokenizer.json: model.merges").map((entry, rank) => {
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
    idOf(left + right);
    const pair = [idOf(left), idOf(right)] as const;
    if (pairs.add(...pair) !== rank) throw new FormatError(`${where}: ${shown(`${left} ${right}`)} is merged twice`);
    return pair;
  });
}

function readPreTokenizer(value: unknown): { pattern: Pattern; addPrefixSpace: boolean } {
  const where = "tokenizer.json: pre_tokenizer";
  const root = objectAt(value, where);
  if (root["type"] === "ByteLevel") return readByteLevel(root, where);
  const steps = root["type"] === "Sequence" ? arrayAt(root["pretokenizers"], `${where}.pretokenizers`) : [];
  const [split, bytes] = steps.map((step, i) => objectAt(step, `${where}.pretokenizers[${i}]`));
  if (steps.length !== 2 || split?.["type"] !== "Split" || bytes?.["type"] !== "ByteLevel") {
    throw unexpected(where, "ByteLevel, or a Sequence of Split and ByteLevel", root["type"] ?? value);
  }
  const { pattern: inner, addPrefixSpace } = readByteLevel(bytes, `${where}.pretokenizers[1]`);
  if (inner !== "none" || addPrefixSpace) {
    throw new FormatError(`${where}: expected use_regex and add_prefix_space to be false after a Split`);
  }
  const kept = split["behavior"] === "Isolated" && split["invert"] === false;
  if (!kept && !(split["behavior"] === "Removed" && split["invert"] === true)) {
    throw unexpected(`${where}: Split`, `behavior "Isolated" and invert false`, split["behavior"]);
  }
  const expression = objectAt(split["pattern"], `${where}: Split.pattern`)["Regex"];
  const known = Object.entries(patternSources).find(([, regex]) => regex === expression);
  if (known === undefined) {
    const names = Object.keys(patternSources).join(", ");
    throw unexpected(
      `${where}: Split.pattern`,
      `the expression of one of ${names}`,
      expression,
      "Other expressions are not supported.",
    );
  }
  return { pattern: known[0] as Pattern, addPrefixSpace: false };
}

function readByteLevel(step: JsonObject, where: string): { pattern: Pattern; addPrefixSpace: boolean } {
  flagAt(step["trim_offsets"], `${where}.trim_offsets`, true);
  return {
    pattern: flagAt(step["use_regex"], `${where}.use_regex`, true) ? "gpt2" : "none",
    addPrefixSpace: flagAt(step["add_prefix_space"], `${where}.add_prefix_space`, true),
  };
}

function readNormalizer(value: unknown): "NFC" | null {
  if (value === undefined || value === null) return null;
  const { type } = objectAt(value, "tokenizer.json: normalizer");
  if (type !== "NFC") throw unexpected("tokenizer.json: normalizer", "null or NFC", type);
  return type;
}

function readDecoder(value: unknown): void {
  const { type } = objectAt(value, "tokenizer.json: decoder");
  if (type !== "ByteLevel") throw unexpected("tokenizer.json: decoder", "ByteLevel", type);
}
