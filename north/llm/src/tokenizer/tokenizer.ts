/** The tokenizer that people hold: text to ids and back, by BPE (Sennrich et al. 2016; Radford et al. 2019).
 *  It is made by `trainBpe` or `tokenizerFromJson`; those check what they are given, this file relies on it.
 *
 *    text → added tokens | normalizer → added tokens | pre-tokenizer → pieces → BPE → ids → post-processor */

import { ArgumentError } from "sinan";
import { splitter } from "./added-tokens.ts";
import type { AddedToken } from "./added-tokens.ts";
import { pieceEncoder } from "./bpe.ts";
import type { BpeFlags } from "./bpe.ts";
import { charactersToBytes } from "./bytes.ts";
import type { Decoder } from "./decoder.ts";
import { Ids } from "./ids.ts";
import type { Normalizer } from "./normalizer.ts";
import { PieceCache, rememberedLength } from "./piece-cache.ts";
import type { PostProcessor } from "./post-processor.ts";
import type { PreTokenizer } from "./pre-tokenizer.ts";
import { type TokenBytes, tokenBytes } from "./token-bytes.ts";
import { cutAtWords } from "./words.ts";
import { tokenizerToJson } from "./write-json.ts";
import type { TokenizerJson } from "./write-json.ts";

export type { AddedToken } from "./added-tokens.ts";

/** What a tokenizer is made of. */
export interface BpeModel {
  /** Every token by id, as `tokenizer.json` writes it; undefined where no token has the id. */
  readonly tokens: readonly (string | undefined)[];
  /** Left and right id of each merge, in order of rank, and the id that it makes. */
  readonly pairs: Int32Array;
  readonly results: Int32Array;
  readonly flags: BpeFlags;
  readonly addedTokens: readonly AddedToken[];
  /** Ids that stand in `added_tokens` alone, so that no piece of text may become them by BPE. */
  readonly outside: ReadonlySet<number>;
  readonly normalizer: Normalizer | null;
  readonly preTokenizer: PreTokenizer;
  readonly decoder: Decoder;
  /** What `encode(text, { addSpecialTokens: true })` puts around the text. */
  readonly postProcessor: PostProcessor | null;
}

/** What is added to the ids of a text. */
export interface EncodeOptions {
  /** Put the tokens around the text that the model expects (LLaMA-3: `<|begin_of_text|>`). Default false: as in the
   *  Hugging Face library with `add_special_tokens=False`. A tokenizer trained here has none. */
  readonly addSpecialTokens?: boolean;
  /** Read `<|endoftext|>` and the like in the text as ordinary characters: for text that is not trusted. Default false. */
  readonly specialTokensAsText?: boolean;
}

/** What of the ids becomes text. */
export interface DecodeOptions {
  /** Leave special tokens out. Default false. */
  readonly skipSpecialTokens?: boolean;
}

/** Text into ids and back. */
export interface Tokenizer {
  /** Number of ids, special tokens included: ids are 0 to vocabSize - 1. */
  readonly vocabSize: number;
  /** Tokens that are matched whole; most of them are special. */
  readonly addedTokens: readonly AddedToken[];
  /** Ids of a text. An unpaired surrogate becomes U+FFFD. Of a byte-level tokenizer `decode(encode(text)) === text`, unless
   *  the file that it comes from asks for normalisation or a leading blank, or has no token for some byte.
   *  @throws ArgumentError if it is not a string, or an expression of the file cannot match it */
  encode(text: string, options?: EncodeOptions): Int32Array<ArrayBuffer>;
  /** Text of ids. Bytes that are not UTF-8 become U+FFFD.
   *  @throws ArgumentError for an id that is not of this vocabulary */
  decode(ids: Iterable<number>, options?: DecodeOptions): string;
  /** The UTF-8 bytes of ids: of a byte-level tokenizer as they are, of others those of the decoded text.
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

/** Turns ids into text as they come, whole characters at a time. */
export interface StreamDecoder {
  /** Text that is certain now that this id has come; "" while a character lacks bytes. All that is pushed and then ended
   *  is what `decode` gives for the same ids.
   *  @throws ArgumentError for an id that is not of this vocabulary */
  push(id: number): string;
  /** What is left: U+FFFD if the last character never became whole. The decoder may be used again. */
  end(): string;
}

/** A tokenizer over a model that has been checked.
 *  @see tokenizerFromJson and trainBpe, which check it */
export function createTokenizer(model: BpeModel): Tokenizer {
  const { tokens, addedTokens, decoder } = model;
  const decoded = decodedTokens(model);
  const idOf = new Map<string, number>();
  tokens.forEach((token, id) => token !== undefined && idOf.set(token, id));
  const special = new Set(addedTokens.filter((token) => token.special).map((token) => token.id));
  let spelt: TokenBytes | undefined; // made when it is first needed
  const bytesOf = (): TokenBytes => (spelt ??= bytesOfTokens(model, decoded));
  const encode = encoder(model, idOf, bytesOf);

  /** Calls `take` with each id that is to be decoded. */
  function eachToken(ids: Iterable<number>, { skipSpecialTokens = false }: DecodeOptions, take: (id: number) => void) {
    for (const id of ids) {
      checkToken(id, "decode");
      if (!skipSpecialTokens || !special.has(id)) take(id);
    }
  }
  function checkToken(id: number, caller: string): void {
    if (tokens[id] !== undefined) return;
    throw new ArgumentError(`${caller}: expected an id from 0 to ${tokens.length - 1}, got ${id}`, {
      hint: "Were the ids made by another tokenizer, or is the model's vocab_size larger than this vocabulary?",
    });
  }

  function decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    if (decoder.bytes) return textDecoder().decode(decodeBytes(ids, options));
    const parts: string[] = [];
    const stage = decoder.open((part) => parts.push(part));
    eachToken(ids, options, (id) => stage.push(decoded[id] ?? ""));
    stage.end();
    return parts.join("");
  }

  function decodeBytes(ids: Iterable<number>, options: DecodeOptions = {}): Uint8Array<ArrayBuffer> {
    if (!decoder.bytes) return new TextEncoder().encode(decode(ids, options));
    const { bytes, starts } = bytesOf();
    const kept: number[] = [];
    let length = 0;
    eachToken(ids, options, (id) => {
      kept.push(id);
      length += (starts[id + 1] ?? 0) - (starts[id] ?? 0);
    });
    const joined = new Uint8Array(length);
    let at = 0;
    for (const id of kept) for (let i = starts[id] ?? 0; i < (starts[id + 1] ?? 0); i++) joined[at++] = bytes[i] ?? 0;
    return joined;
  }

  function streamDecoder({ skipSpecialTokens = false }: DecodeOptions = {}): StreamDecoder {
    let text = "";
    const open = () => decoder.open((part) => (text += part));
    let stage = open();
    const taken = (): string => {
      const given = text;
      text = "";
      return given;
    };
    return {
      push(id) {
        checkToken(id, "streamDecoder.push");
        if (!skipSpecialTokens || !special.has(id)) stage.push(decoded[id] ?? "");
        return taken();
      },
      end() {
        stage.end();
        stage = open();
        return taken();
      },
    };
  }

  return {
    vocabSize: tokens.length,
    addedTokens,
    encode,
    decode,
    decodeBytes,
    streamDecoder,
    tokenToId: (token) => idOf.get(token),
    idToToken: (id) => tokens[id],
    toJSON: () => tokenizerToJson(model),
  };
}

/** A byte order mark is text like any other. */
const textDecoder = (): TextDecoder => new TextDecoder("utf-8", { ignoreBOM: true });

/** Tokens as the decoder is given them: those that are found in normalised text are normalised, so that a decoder that undoes
 *  the normaliser (marks to blanks) undoes it in them too. */
function decodedTokens({ tokens, addedTokens, normalizer }: BpeModel): readonly (string | undefined)[] {
  const changed = normalizer === null ? [] : addedTokens.filter(({ normalized }) => normalized);
  if (changed.length === 0) return tokens;
  const all = [...tokens];
  for (const { id, content } of changed) all[id] = normalizer?.apply(content) ?? content;
  return all;
}

/** The bytes that each token stands for in a byte-level vocabulary. */
function bytesOfTokens({ tokens, outside }: BpeModel, decoded: readonly (string | undefined)[]): TokenBytes {
  const utf8 = new TextEncoder();
  const bytes = decoded.map((token = "") => charactersToBytes(token) ?? utf8.encode(token));
  return tokenBytes(bytes, (id) => tokens[id] !== undefined && !outside.has(id) && isSpelt(tokens[id] ?? ""));
}

/** Whether a piece of text can spell this token: it is in the byte alphabet. */
const isSpelt = (token: string): boolean => charactersToBytes(token) !== null;

function encoder(model: BpeModel, idOf: ReadonlyMap<string, number>, bytesOf: () => TokenBytes): Tokenizer["encode"] {
  const { addedTokens, normalizer, postProcessor, preTokenizer, outside } = model;
  const normal = (text: string): string => (normalizer === null ? text : normalizer.apply(text));
  const splitRaw = splitter(addedTokens.filter((token) => !token.normalized));
  const splitNormal = splitter(
    addedTokens
      .filter((token) => token.normalized)
      .map((token) => ({ ...token, content: normal(token.content) }))
      .filter(({ content }) => content !== ""),
  );
  const vocabulary = {
    ...model,
    idOf: (token: string): number => {
      const id = idOf.get(token) ?? -1;
      return outside.has(id) ? -1 : id;
    },
  };
  let pieces: ReturnType<typeof pieceEncoder> | undefined; // its tables are built when they are first needed
  const cache = new PieceCache();
  let out = new Ids(0);

  function take(text: string, start: number, end: number): void {
    if (start === end) return;
    const remembered = end - start <= rememberedLength;
    if (remembered) {
      const entry = cache.find(text, start, end);
      if (entry >= 0) return out.append(cache.ids, cache.idsAt(entry), cache.count(entry));
    }
    pieces ??= pieceEncoder(vocabulary, preTokenizer.bytes, bytesOf);
    const count = pieces.encode(text, start, end);
    out.append(pieces.symbols, 0, count);
    if (remembered) cache.add(text, start, end, pieces.symbols, count);
  }
  const cut = preTokenizer.into(cutAtWords(vocabulary, preTokenizer, take));

  return (text, { addSpecialTokens = false, specialTokensAsText = false } = {}) => {
    if (typeof text !== "string") throw new ArgumentError(`encode: expected a string, got ${typeof text}`);
    const raw = text.toWellFormed();
    out = new Ids(raw.length >> 1);
    if (addSpecialTokens && postProcessor) out.appendAll(postProcessor.before);
    for (const part of splitRaw(raw, specialTokensAsText)) {
      if (part.id >= 0) {
        out.appendAll([part.id]);
        continue;
      }
      const whole = part.start === 0 && part.end === raw.length;
      const words = normal(whole ? raw : raw.slice(part.start, part.end));
      for (const { id, start, end } of splitNormal(words, specialTokensAsText)) {
        if (id >= 0) out.appendAll([id]);
        else cut(words, start, end, part.start === 0 && start === 0);
      }
    }
    if (addSpecialTokens && postProcessor) out.appendAll(postProcessor.after);
    return out.done();
  };
}
