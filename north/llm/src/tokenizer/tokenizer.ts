/** The tokenizer that people hold: text to ids and back, by byte-level BPE (Sennrich et al. 2016; Radford et al. 2019).
 *  It is made by `trainBpe` or `tokenizerFromJson`; those check what they are given, this file relies on it. */

import { ArgumentError } from "sinan";
import { splitter } from "./added-tokens.ts";
import type { AddedToken } from "./added-tokens.ts";
import { byteCharacters, bytesToCharacters, charactersToBytes } from "./bytes.ts";
import { mergeSymbols } from "./merge.ts";
import { PairTable } from "./pair-table.ts";
import { pretokenize } from "./pretokenize.ts";
import type { Pattern } from "./pretokenize.ts";
import { tokenizerToJson } from "./write-json.ts";
import type { TokenizerJson } from "./write-json.ts";

export type { AddedToken } from "./added-tokens.ts";

/** What a byte-level BPE tokenizer is made of. */
export interface BpeModel {
  /** Every token by id, in the byte alphabet (added tokens as they are written). All 256 bytes are among them. */
  readonly tokens: readonly string[];
  /** Pairs of ids in order of rank. The joined text of each is a token. */
  readonly merges: readonly (readonly [number, number])[];
  readonly addedTokens: readonly AddedToken[];
  readonly pattern: Pattern;
  /** A piece that is a token as a whole is that token, whatever the merges say (LLaMA-3). Default false. */
  readonly ignoreMerges?: boolean;
  /** A blank is put before text that does not begin with one. Default false. */
  readonly addPrefixSpace?: boolean;
  /** Unicode normalisation before everything else. Default: none. */
  readonly normalizer?: "NFC" | null;
  /** What `encode(text, { addSpecialTokens: true })` puts around the text. Default: nothing. */
  readonly postProcessor?: PostProcessor | null;
  /** Ids that stand in `added_tokens` alone, so that no piece of text may become them by BPE. Default: none. */
  readonly outside?: ReadonlySet<number>;
}

/** Ids before and after a text, with the part of `tokenizer.json` that says so. */
export interface PostProcessor {
  readonly before: readonly number[];
  readonly after: readonly number[];
  readonly source: unknown;
}

export interface EncodeOptions {
  /** Put the tokens around the text that the model expects (LLaMA-3: `<|begin_of_text|>`). Default false: as in the
   *  Hugging Face library with `add_special_tokens=False`. A tokenizer trained here has none. */
  readonly addSpecialTokens?: boolean;
  /** Read `<|endoftext|>` and the like in the text as ordinary characters: for text that is not trusted. Default false. */
  readonly specialTokensAsText?: boolean;
}

export interface DecodeOptions {
  /** Leave special tokens out. Default false. */
  readonly skipSpecialTokens?: boolean;
}

export interface Tokenizer {
  /** Number of ids, special tokens included: ids are 0 to vocabSize - 1. */
  readonly vocabSize: number;
  /** Tokens that are matched whole; most of them are special. */
  readonly addedTokens: readonly AddedToken[];
  readonly pattern: Pattern;
  /** Ids of a text. An unpaired surrogate becomes U+FFFD; otherwise `decode(encode(text)) === text`, unless the file that
   *  the tokenizer comes from asks for normalisation or a leading blank. */
  encode(text: string, options?: EncodeOptions): Int32Array<ArrayBuffer>;
  /** Text of ids. Bytes that are not UTF-8 become U+FFFD.
   *  @throws ArgumentError for an id that is not of this vocabulary */
  decode(ids: Iterable<number>, options?: DecodeOptions): string;
  /** The UTF-8 bytes of ids, as they are.
   *  @throws ArgumentError for an id that is not of this vocabulary */
  decodeBytes(ids: Iterable<number>, options?: DecodeOptions): Uint8Array<ArrayBuffer>;
  /** Decodes ids one by one, for text that is shown while it is generated. */
  streamDecoder(options?: DecodeOptions): StreamDecoder;
  /** Id of a token as `tokenizer.json` writes it (`"Ġthe"`, `"<|endoftext|>"`), or undefined. */
  tokenToId(token: string): number | undefined;
  /** Token of an id as `tokenizer.json` writes it, or undefined. */
  idToToken(id: number): string | undefined;
  /** The content of a Hugging Face `tokenizer.json`: `JSON.stringify(tokenizer)` is that file. */
  toJSON(): TokenizerJson;
}

export interface StreamDecoder {
  /** Text that is complete now that this id has come; "" while a character lacks bytes.
   *  @throws ArgumentError for an id that is not of this vocabulary */
  push(id: number): string;
  /** What is left: U+FFFD if the last character never became whole. The decoder may be used again. */
  end(): string;
}

/** Pieces remembered with their ids. Words repeat; of pieces longer than this the chance is small. */
const cachedPieces = 1 << 16;
const cachedLength = 32;

/** A tokenizer over a model that has been checked.
 *  @see tokenizerFromJson and trainBpe, which check it */
export function createTokenizer(model: BpeModel): Tokenizer {
  const { tokens, addedTokens, pattern, ignoreMerges = false, addPrefixSpace = false } = model;
  const normalizer = model.normalizer ?? null;
  const postProcessor = model.postProcessor ?? null;
  const outside = model.outside ?? new Set<number>();
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const idOfByte = Int32Array.from(byteCharacters, (character) => idOf.get(character) ?? -1);
  const ranks = mergeRanks(model, idOf);
  const utf8 = new TextEncoder();
  const bytesOf = tokens.map((token) => charactersToBytes(token) ?? utf8.encode(token));
  const special = new Set(addedTokens.filter((token) => token.special).map((token) => token.id));
  const splitRaw = splitter(addedTokens.filter((token) => !token.normalized));
  const splitNormalized = splitter(
    addedTokens
      .filter((token) => token.normalized)
      .map((token) => ({
        ...token,
        content: normalizer === null ? token.content : token.content.normalize(normalizer),
      })),
  );
  const noSplit = splitter([]);
  const cache = new Map<string, Int32Array>();

  function encodePiece(piece: string): Int32Array {
    const bytes = utf8.encode(piece);
    if (ignoreMerges) {
      const whole = idOf.get(bytesToCharacters(bytes));
      if (whole !== undefined && !outside.has(whole)) return Int32Array.of(whole);
    }
    const symbols = new Int32Array(bytes.length);
    for (let i = 0; i < bytes.length; i++) symbols[i] = idOfByte[bytes[i] ?? 0] ?? 0;
    return symbols.slice(0, mergeSymbols(symbols, symbols.length, ranks));
  }

  function appendText(text: string, out: Ids): void {
    pretokenize(text, pattern, (start, end) => {
      const piece = text.slice(start, end);
      if (piece.length > cachedLength) return out.append(encodePiece(piece));
      let ids = cache.get(piece);
      if (ids === undefined) {
        ids = encodePiece(piece);
        if (cache.size >= cachedPieces) cache.clear();
        cache.set(ownCopy(piece), ids);
      }
      out.append(ids);
    });
  }

  function encode(text: string, { addSpecialTokens = false, specialTokensAsText = false }: EncodeOptions = {}) {
    if (typeof text !== "string") throw new ArgumentError(`encode: expected a string, got ${typeof text}`);
    const out = ids(Math.ceil(text.length / 2));
    const raw = text.toWellFormed();
    if (addSpecialTokens && postProcessor) out.append(postProcessor.before);
    for (const part of specialTokensAsText ? noSplit(raw) : splitRaw(raw)) {
      if ("id" in part) {
        out.append([part.id]);
        continue;
      }
      const slice = raw.slice(part.start, part.end);
      const normal = normalizer === null ? slice : slice.normalize(normalizer);
      for (const segment of specialTokensAsText ? noSplit(normal) : splitNormalized(normal)) {
        if ("id" in segment) {
          out.append([segment.id]);
          continue;
        }
        const words = normal.slice(segment.start, segment.end);
        appendText(addPrefixSpace && !words.startsWith(" ") ? ` ${words}` : words, out);
      }
    }
    if (addSpecialTokens && postProcessor) out.append(postProcessor.after);
    return out.done();
  }

  function bytesOfId(id: number, caller: string): Uint8Array {
    const bytes = bytesOf[id];
    if (bytes) return bytes;
    throw new ArgumentError(`${caller}: expected an id from 0 to ${tokens.length - 1}, got ${id}`, {
      hint: "Were the ids made by another tokenizer, or is the model's vocab_size larger than this vocabulary?",
    });
  }

  function decodeBytes(source: Iterable<number>, { skipSpecialTokens = false }: DecodeOptions = {}) {
    const parts: Uint8Array[] = [];
    let length = 0;
    for (const id of source) {
      const bytes = bytesOfId(id, "decode");
      if (skipSpecialTokens && special.has(id)) continue;
      parts.push(bytes);
      length += bytes.length;
    }
    const joined = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      joined.set(part, at);
      at += part.length;
    }
    return joined;
  }

  return {
    vocabSize: tokens.length,
    addedTokens,
    pattern,
    encode,
    decodeBytes,
    decode: (source, options) => textDecoder().decode(decodeBytes(source, options)),
    streamDecoder({ skipSpecialTokens = false } = {}) {
      const decoder = textDecoder();
      return {
        push(id) {
          const bytes = bytesOfId(id, "streamDecoder.push");
          return skipSpecialTokens && special.has(id) ? "" : decoder.decode(bytes, { stream: true });
        },
        end: () => decoder.decode(),
      };
    },
    tokenToId: (token) => idOf.get(token),
    idToToken: (id) => tokens[id],
    toJSON: () => tokenizerToJson(model),
  };
}

/** A byte order mark is text like any other. */
const textDecoder = (): TextDecoder => new TextDecoder("utf-8", { ignoreBOM: true });

function mergeRanks({ tokens, merges }: BpeModel, idOf: ReadonlyMap<string, number>) {
  const pairs = new PairTable(merges.length);
  const results = new Int32Array(merges.length);
  merges.forEach(([left, right], rank) => {
    pairs.add(left, right);
    results[rank] = idOf.get((tokens[left] ?? "") + (tokens[right] ?? "")) ?? 0;
  });
  return { pairs, results };
}

/** A string of its own: a slice would keep the whole text it was cut from alive for as long as the cache holds it. */
function ownCopy(piece: string): string {
  const units = Array.from({ length: piece.length }, (_, i) => piece.charCodeAt(i));
  return String.fromCharCode(...units);
}

interface Ids {
  append(more: ArrayLike<number>): void;
  done(): Int32Array<ArrayBuffer>;
}

function ids(expected: number): Ids {
  let values = new Int32Array(Math.max(16, expected));
  let length = 0;
  return {
    append(more) {
      if (length + more.length > values.length) {
        const grown = new Int32Array(Math.max(values.length * 2, length + more.length));
        grown.set(values);
        values = grown;
      }
      values.set(more, length);
      length += more.length;
    },
    done: () => values.slice(0, length),
  };
}
