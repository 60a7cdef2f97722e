/** The BPE model itself: one piece of text to ids. A piece starts as the ids of its bytes (byte-level vocabularies) or of its
 *  characters (SentencePiece's), what has none becomes bytes or the unknown token; then the merges are applied.
 *  Source: `BPE::merge_word` of the Rust library. */

import { byteCharacters } from "./bytes.ts";
import { mergeSymbols, mergeTable } from "./merge.ts";
import { bytesAsCharacters } from "./normalizer.ts";
import type { TokenBytes } from "./token-bytes.ts";

/** The flags of a `tokenizer.json`'s model. */
export interface BpeFlags {
  /** Stands for text that the vocabulary has no token for; without it such text goes. */
  readonly unkToken: string | null;
  /** Unknown characters behind each other become one unknown token. */
  readonly fuseUnk: boolean;
  /** A character without a token becomes the tokens `<0xE4>` ... of its bytes, where there are such. */
  readonly byteFallback: boolean;
  /** A piece that is a token as a whole is that token, whatever the merges say (LLaMA-3). */
  readonly ignoreMerges: boolean;
  /** Stands before each character of a piece but the first. */
  readonly prefix: string | null;
  /** Stands behind the last character of a piece. */
  readonly suffix: string | null;
}

export interface BpeVocabulary {
  readonly flags: BpeFlags;
  /** Left and right id of each merge, in order of rank, and the id that it makes. */
  readonly pairs: Int32Array;
  readonly results: Int32Array;
  /** Id of a token of the model, or -1. */
  readonly idOf: (token: string) => number;
}

/** Encodes pieces one after another; its result is in `symbols` until the next call. */
export interface PieceEncoder {
  symbols: Int32Array;
  /** Encodes `text[start..end)`, which is not empty, and returns how many ids there are. */
  encode(text: string, start: number, end: number): number;
}

/** @param bytes whether pieces are raw text whose bytes are the symbols; else they are in the vocabulary's characters */
export function pieceEncoder(vocabulary: BpeVocabulary, bytes: boolean, tokens: () => TokenBytes): PieceEncoder {
  const { flags } = vocabulary;
  const table = mergeTable(vocabulary.pairs, vocabulary.results);
  const idOfByte = Int32Array.from(byteCharacters, vocabulary.idOf);
  const direct = bytes && !flags.prefix && !flags.suffix && !idOfByte.includes(-1);
  return direct
    ? fromBytes(idOfByte, flags.ignoreMerges ? tokens() : undefined, table)
    : fromCharacters(vocabulary, bytes, table);
}

type Table = ReturnType<typeof mergeTable>;

function fromBytes(idOfByte: Int32Array, whole: TokenBytes | undefined, table: Table): PieceEncoder {
  let buffer = new Uint8Array(256);
  return {
    symbols: new Int32Array(256),
    encode(text, start, end) {
      if (buffer.length < 3 * (end - start)) {
        buffer = new Uint8Array(4 * (end - start));
        this.symbols = new Int32Array(buffer.length);
      }
      const length = writeUtf8(text, start, end, buffer);
      const { symbols } = this;
      const id = whole?.find(buffer, length) ?? -1;
      if (id >= 0) {
        symbols[0] = id;
        return 1;
      }
      for (let i = 0; i < length; i++) symbols[i] = idOfByte[buffer[i] ?? 0] ?? 0;
      return mergeSymbols(symbols, length, table);
    },
  };
}

/** Writes well-formed text as UTF-8 and returns the number of bytes. */
function writeUtf8(text: string, start: number, end: number, out: Uint8Array): number {
  let length = 0;
  for (let at = start; at < end; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) out[length++] = unit;
    else if (unit < 0x800) {
      out[length++] = 0xc0 | (unit >> 6);
      out[length++] = 0x80 | (unit & 63);
    } else if (unit < 0xd800 || unit > 0xdbff) {
      out[length++] = 0xe0 | (unit >> 12);
      out[length++] = 0x80 | ((unit >> 6) & 63);
      out[length++] = 0x80 | (unit & 63);
    } else {
      const code = text.codePointAt(at++) ?? 0;
      out[length++] = 0xf0 | (code >> 18);
      out[length++] = 0x80 | ((code >> 12) & 63);
      out[length++] = 0x80 | ((code >> 6) & 63);
      out[length++] = 0x80 | (code & 63);
    }
  }
  return length;
}

function fromCharacters({ flags, idOf }: BpeVocabulary, bytes: boolean, table: Table): PieceEncoder {
  const { fuseUnk, byteFallback, ignoreMerges } = flags;
  const prefix = flags.prefix ?? "";
  const suffix = flags.suffix ?? "";
  const unknown = flags.unkToken === null ? -1 : idOf(flags.unkToken);
  const utf8 = new TextEncoder();
  // A unit of UTF-16 has at most three bytes; prefix and suffix come on top.
  const perUnit = byteFallback ? 3 * (1 + prefix.length) : 1;
  const affixes = byteFallback ? 3 * suffix.length : 0;
  const idOfFallback = Array.from({ length: 256 }, (_, byte) =>
    idOf(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`),
  );
  return {
    symbols: new Int32Array(256),
    encode(text, start, end) {
      const raw = text.slice(start, end);
      const piece = bytes ? bytesAsCharacters(raw) : raw;
      const most = affixes + perUnit * piece.length;
      if (this.symbols.length < most) this.symbols = new Int32Array(most * 2);
      const { symbols } = this;
      const whole = ignoreMerges ? idOf(piece) : -1;
      if (whole >= 0) {
        symbols[0] = whole;
        return 1;
      }
      let length = 0;
      let pending = false; // an unknown token that may still be fused with the next
      for (let at = 0; at < piece.length; ) {
        const character = String.fromCodePoint(piece.codePointAt(at) ?? 0);
        const first = at === 0;
        at += character.length;
        const token = (first ? "" : prefix) + character + (at === piece.length ? suffix : "");
        const id = idOf(token);
        if (id >= 0) {
          if (pending) symbols[length++] = unknown;
          pending = false;
          symbols[length++] = id;
          continue;
        }
        if (byteFallback) {
          const ids = Array.from(utf8.encode(token), (byte) => idOfFallback[byte] ?? -1);
          if (ids.every((one) => one >= 0)) {
            for (const one of ids) symbols[length++] = one;
            continue;
          }
        }
        if (unknown < 0) continue;
        if (pending && !fuseUnk) symbols[length++] = unknown;
        pending = true;
      }
      if (pending) symbols[length++] = unknown;
      return mergeSymbols(symbols, length, table);
    },
  };
}
