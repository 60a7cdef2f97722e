/** Training byte-level BPE: the algorithm of Hugging Face's `BpeTrainer`, tie for tie, so that the same text gives the same
 *  merges and ids. The most frequent pair is merged; among equals the one whose ids are smaller, first id first.
 *  Counts are kept incrementally: a merge touches only the words that hold the pair (Sennrich et al. 2016, section 3.2).
 *
 *    words   "low" x 5, "lower" x 2     pairs  (l o) 7  (o w) 7  (w e) 2  (e r) 2
 *    merge   (l o) -> lo                pairs  (lo w) 7  (w e) 2  (e r) 2 */

import { ArgumentError } from "sinan";
import { byteCharacters, bytesByCharacter, charactersToBytes } from "./bytes.ts";
import { readDecoder } from "./decoder.ts";
import { PairTable } from "./pair-table.ts";
import { readPreTokenizer } from "./pre-tokenizer.ts";
import { pretokenize } from "./pretokenize.ts";
import type { Pattern } from "./pretokenize.ts";
import { createTokenizer } from "./tokenizer.ts";
import type { AddedToken, Tokenizer } from "./tokenizer.ts";
import { byteLevelJson, preTokenizerJson } from "./write-json.ts";

/** What a tokenizer is trained to. */
export interface BpeOptions {
  /** Ids wanted, special tokens and the 256 bytes included. Less come out if the text has no more pairs to merge. */
  readonly vocabSize: number;
  /** Take ids 0, 1, ... in this order, are never split, and are not looked for in the training text. Default: none. */
  readonly specialTokens?: readonly string[];
  /** A pair seen less often is not merged. Default 0, as the library's `BpeTrainer` (its ByteLevelBPETokenizer has 2). */
  readonly minFrequency?: number;
  /** How text is cut into pieces that no merge crosses. Default `"gpt2"`. */
  readonly pattern?: Pattern;
  /** Called now and then, and once at the end. */
  readonly onProgress?: (progress: { readonly merges: number; readonly total: number }) => void;
}

/** Learns a byte-level BPE vocabulary.
 *
 *  Each string that the iterable gives is cut on its own, so no piece crosses from one to the next; a lone string is one
 *  sequence. `tokenizers` feeds a file line by line: `trainBpe(linesWithEndings(text), ...)` does the same.
 *
 *  @returns the tokenizer, or a promise of it if the text is asynchronous
 *  @throws ArgumentError if the vocabulary has no room for the 256 bytes and the special tokens, a special token is empty,
 *          given twice or spells other bytes in the byte alphabet, or the text is empty
 *  @example const tokenizer = trainBpe("low lower lowest", { vocabSize: 260 }) */
export function trainBpe(text: string | Iterable<string>, options: BpeOptions): Tokenizer;
export function trainBpe(text: AsyncIterable<string>, options: BpeOptions): Promise<Tokenizer>;
export function trainBpe(
  text: string | Iterable<string> | AsyncIterable<string>,
  options: BpeOptions,
): Tokenizer | Promise<Tokenizer> {
  checkOptions(options);
  const counts = new Map<string, number>();
  if (typeof text !== "string" && Symbol.asyncIterator in text) {
    return (async () => {
      for await (const sequence of text) countPieces(sequence, options, counts);
      return learn(counts, options);
    })();
  }
  for (const sequence of typeof text === "string" ? [text] : text) countPieces(sequence, options, counts);
  return learn(counts, options);
}

/** The lines of a text, each with its `\n`: what `tokenizers` trains on when it is given a file. */
export function* linesWithEndings(text: string): Generator<string> {
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf("\n", start);
    const end = newline < 0 ? text.length : newline + 1;
    yield text.slice(start, end);
    start = end;
  }
}

function checkOptions({ vocabSize, specialTokens = [], minFrequency = 0 }: BpeOptions): void {
  const least = 256 + specialTokens.length;
  if (!Number.isSafeInteger(vocabSize) || vocabSize < least || vocabSize > 2 ** 24) {
    throw new ArgumentError(`trainBpe: vocabSize must be an integer from ${least} to ${2 ** 24}, got ${vocabSize}`, {
      hint: `The 256 bytes and ${specialTokens.length} special tokens need an id each.`,
    });
  }
  if (!(minFrequency >= 0)) throw new ArgumentError(`trainBpe: minFrequency must be 0 or more, got ${minFrequency}`);
  if (specialTokens.includes("")) {
    throw new ArgumentError("trainBpe: a special token must not be empty", { hint: "Remove the empty string." });
  }
  const twice = specialTokens.find((token, i) => specialTokens.indexOf(token) < i);
  const disguised = specialTokens.find((token) => !isAscii(token) && charactersToBytes(token) !== null);
  if (disguised !== undefined) {
    throw new ArgumentError(
      `trainBpe: the special token ${JSON.stringify(disguised)} spells other bytes in the byte alphabet`,
      {
        hint: "Use ASCII, as in <|endoftext|>; only such a token decodes to the text it was found in.",
      },
    );
  }
  if (twice !== undefined)
    throw new ArgumentError(`trainBpe: the special token ${JSON.stringify(twice)} is given twice`);
}

const isAscii = (text: string): boolean => /^[\x21-\x7e]*$/.test(text);

function countPieces(sequence: string, { pattern = "gpt2" }: BpeOptions, counts: Map<string, number>): void {
  const text = sequence.toWellFormed();
  pretokenize(text, pattern, (start, end) => {
    const piece = text.slice(start, end);
    counts.set(piece, (counts.get(piece) ?? 0) + 1);
  });
}

/** A pair in the queue. `count` may be out of date; `words` are those in which the pair stood when it was queued. */
interface Candidate {
  readonly pair: number;
  readonly left: number;
  readonly right: number;
  count: number;
  readonly words: readonly number[];
}

function learn(pieces: ReadonlyMap<string, number>, options: BpeOptions): Tokenizer {
  if (pieces.size === 0) {
    throw new ArgumentError("trainBpe: the text is empty", { hint: "Give at least one non-empty string." });
  }
  const { vocabSize, specialTokens = [], minFrequency = 0, pattern = "gpt2", onProgress } = options;
  const tokens = [...specialTokens];
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const idOfByte = new Int32Array(256);
  for (const byte of bytesByCharacter) idOfByte[byte] = intern(byteCharacters[byte] ?? "");

  function intern(token: string): number {
    const known = idOf.get(token);
    if (known !== undefined) return known;
    idOf.set(token, tokens.length);
    return tokens.push(token) - 1;
  }

  const words = wordSymbols(pieces, idOfByte);
  const pairs = new PairTable(1 << 14);
  const counts: number[] = [];
  /** Words in which a pair has appeared since the queue was last filled, by pair. */
  let appeared = new Map<number, number[]>();
  const queue: Candidate[] = [];

  const change = (left: number, right: number, by: number, word: number): void => {
    const pair = pairs.add(left, right);
    counts[pair] = (counts[pair] ?? 0) + by;
    if (by < 0) return;
    const where = appeared.get(pair);
    if (where === undefined) appeared.set(pair, [word]);
    else if (where[where.length - 1] !== word) where.push(word);
  };
  const enqueueAppeared = (): void => {
    for (const [pair, where] of appeared) {
      const count = counts[pair] ?? 0;
      if (count > 0) push(queue, { pair, left: pairs.left(pair), right: pairs.right(pair), count, words: where });
    }
    appeared = new Map();
  };

  words.forEach((word, w) => {
    for (let i = 0; i + 1 < word.symbols.length; i++)
      change(word.symbols[i] ?? 0, word.symbols[i + 1] ?? 0, word.count, w);
  });
  enqueueAppeared();

  // A pair can be learnt twice when two different pairs spell one token; like the library, the later rank is kept.
  const merges = new Map<number, readonly [number, number, number]>();
  const total = vocabSize - tokens.length;
  for (let round = 0; tokens.length < vocabSize; ) {
    const top = pop(queue);
    if (top === undefined) break;
    const count = counts[top.pair] ?? 0;
    if (top.count !== count) {
      top.count = count;
      push(queue, top);
      continue;
    }
    if (count < 1 || count < minFrequency) break;
    const merged = intern((tokens[top.left] ?? "") + (tokens[top.right] ?? ""));
    merges.delete(top.pair);
    merges.set(top.pair, [top.left, top.right, merged]);
    for (const w of top.words) {
      const word = words[w];
      if (word)
        mergeInWord(word, top.left, top.right, merged, (left, right, sign) =>
          change(left, right, sign * word.count, w),
        );
    }
    enqueueAppeared();
    if (++round % 64 === 0) onProgress?.({ merges: Math.min(round, total), total });
  }
  onProgress?.({ merges: merges.size, total: merges.size });

  const addedTokens = specialTokens.map(
    (content, id): AddedToken => ({
      id,
      content,
      special: true,
      normalized: false,
      singleWord: false,
      lstrip: false,
      rstrip: false,
    }),
  );
  const learnt = [...merges.values()];
  return createTokenizer({
    tokens,
    pairs: Int32Array.from(learnt.flatMap(([left, right]) => [left, right])),
    results: Int32Array.from(learnt, ([, , merged]) => merged),
    flags: { unkToken: null, fuseUnk: false, byteFallback: false, ignoreMerges: false, prefix: null, suffix: null },
    addedTokens,
    outside: new Set(),
    normalizer: null,
    preTokenizer: readPreTokenizer(preTokenizerJson(pattern)),
    decoder: readDecoder(byteLevelJson(true, true)),
    postProcessor: null,
  });
}

interface Word {
  symbols: number[];
  readonly count: number;
}

function wordSymbols(pieces: ReadonlyMap<string, number>, idOfByte: Int32Array): Word[] {
  const utf8 = new TextEncoder();
  return [...pieces].map(([piece, count]) => ({
    symbols: Array.from(utf8.encode(piece), (byte) => idOfByte[byte] ?? 0),
    count,
  }));
}

/** Replaces each `left right` of the word by `merged`, from the left, and reports how often every neighbouring pair
 *  appears or disappears. The merged pair's own count is not taken down: nobody looks at it again. */
function mergeInWord(
  word: Word,
  left: number,
  right: number,
  merged: number,
  changed: (left: number, right: number, sign: 1 | -1) => void,
): void {
  const { symbols } = word;
  let kept = 0;
  for (let i = 0; i < symbols.length; i++) {
    const symbol = symbols[i] ?? 0;
    if (symbol !== left || symbols[i + 1] !== right) {
      symbols[kept++] = symbol;
      continue;
    }
    const before = kept > 0 ? symbols[kept - 1] : undefined;
    const after = symbols[i + 2];
    if (before !== undefined) {
      changed(before, left, -1);
      changed(before, merged, 1);
    }
    if (after !== undefined) {
      changed(right, after, -1);
      changed(merged, after, 1);
    }
    symbols[kept++] = merged;
    i++;
  }
  symbols.length = kept;
}

/** Whether `a` is merged before `b`: higher count, then smaller ids. */
function precedes(a: Candidate, b: Candidate): boolean {
  if (a.count !== b.count) return a.count > b.count;
  return a.left !== b.left ? a.left < b.left : a.right < b.right;
}

function push(heap: Candidate[], item: Candidate): void {
  let hole = heap.push(item) - 1;
  while (hole > 0) {
    const above = (hole - 1) >> 1;
    const parent = heap[above];
    if (parent === undefined || !precedes(item, parent)) break;
    heap[hole] = parent;
    hole = above;
  }
  heap[hole] = item;
}

function pop(heap: Candidate[]): Candidate | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return top;
  let hole = 0;
  for (;;) {
    let below = 2 * hole + 1;
    let child = heap[below];
    if (child === undefined) break;
    const sibling = heap[below + 1];
    if (sibling !== undefined && precedes(sibling, child)) {
      child = sibling;
      below++;
    }
    if (!precedes(child, last)) break;
    heap[hole] = child;
    hole = below;
  }
  heap[hole] = last;
  return top;
}
