/** Cutting text into the pieces inside which BPE may merge. The cuts are those of a few published regular expressions,
 *  made by scanners instead of the regex engine: they are faster, need no stack on long runs, and give the Unicode meaning
 *  of `\s` that the Rust library has (JavaScript's differs). Other expressions go through `oniguruma.ts`. */

import { classAt, digit, letter, lower, newline, other, runEnd, space, upper, widthAt } from "./character-class.ts";

/** `gpt2`: GPT-2 and the default of Hugging Face's ByteLevel. `llama3`: LLaMA-3 (also cl100k, GPT-4): contractions in any
 *  case, numbers in groups of three digits, one leading punctuation mark, newlines apart. `qwen2`: the same with single
 *  digits. `o200k`: GPT-4o and LLaMA-4, which cut words where the case changes. `none`: the whole text is one piece. */
export type Pattern = "gpt2" | "llama3" | "qwen2" | "o200k" | "none";

/** The expressions as `tokenizer.json` writes them (in the Oniguruma dialect); what the scanner does is defined by them. */
export const patternSources = {
  gpt2: String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  llama3: cl100k(String.raw`\p{N}{1,3}`),
  qwen2: cl100k(String.raw`\p{N}`),
  o200k: o200k(),
} as const satisfies Record<Exclude<Pattern, "none">, string>;

function cl100k(digits: string): string {
  const before = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|`;
  return `${before}${digits}${String.raw`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`}`;
}

function o200k(): string {
  const before = String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
  const after = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
  const endings = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?";
  const rest = String.raw`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
  return `${before}*${after}+${endings}|${before}+${after}*${endings}|${rest}`;
}

const apostrophe = 0x27;
const blank = 0x20;
const slash = 0x2f;

type Emit = (start: number, end: number) => void;

/** Calls `emit(start, end)` for each piece of `text[from..end)` from left to right; the pieces cover it without gaps.
 *  Linear in the length of the text, whatever it holds.
 *
 *  @param text well-formed UTF-16 */
export function pretokenize(text: string, pattern: Pattern, emit: Emit, from = 0, end = text.length): void {
  switch (pattern) {
    case "gpt2":
      for (let at = from; at < end; ) emit(at, (at = gpt2End(text, at, end)));
      return;
    case "llama3":
      for (let at = from; at < end; ) emit(at, (at = cl100kEnd(text, at, end, 3)));
      return;
    case "qwen2":
      for (let at = from; at < end; ) emit(at, (at = cl100kEnd(text, at, end, 1)));
      return;
    case "o200k":
      for (let at = from; at < end; ) emit(at, (at = o200kEnd(text, at, end)));
      return;
    case "none":
      if (from < end) emit(from, end);
  }
}

// Where the piece that starts at `from` ends: the alternatives of each expression, in its order.

function gpt2End(text: string, from: number, end: number): number {
  const unit = text.charCodeAt(from);
  if (unit === apostrophe) {
    const length = contraction(text, from + 1, end, false);
    if (length > 0) return from + 1 + length;
  }
  const body = unit === blank ? from + 1 : from;
  const kind = body < end ? classAt(text, body) & (letter | digit | other) : 0;
  return kind === 0 ? spacesEnd(text, from, end) : runEnd(text, body, end, kind);
}

function cl100kEnd(text: string, from: number, end: number, digits: 1 | 3): number {
  const unit = text.charCodeAt(from);
  if (unit === apostrophe) {
    const length = contraction(text, from + 1, end, true);
    if (length > 0) return from + 1 + length;
  }
  const kind = classAt(text, from);
  if (kind & letter) return runEnd(text, from, end, letter);
  if (kind & digit) return digitsEnd(text, from, end, digits);
  if ((kind & newline) === 0) {
    const after = from + widthAt(text, from);
    if (after < end && classAt(text, after) & letter) return runEnd(text, after, end, letter);
  }
  return symbolsEnd(text, from, end, false);
}

function o200kEnd(text: string, from: number, end: number): number {
  const kind = classAt(text, from);
  if (kind & digit) return digitsEnd(text, from, end, 3);
  if (kind & letter) return wordEnd(text, from, end);
  if ((kind & newline) === 0) {
    const after = from + widthAt(text, from);
    const to = after < end ? wordEnd(text, after, end) : -1;
    const marked = kind & upper; // of what is no letter, marks alone
    if (to >= 0 && !(marked && isAllCapital(text, after, to))) return to;
    if (marked) return withContraction(text, after, end);
  }
  return symbolsEnd(text, from, end, true);
}

/** `[upper]*[lower]+` or else `[upper]+[lower]*`, and a contraction; -1 if no such word begins here. */
function wordEnd(text: string, from: number, end: number): number {
  const capitals = runEnd(text, from, end, upper);
  const small = runEnd(text, capitals, end, lower);
  if (small > capitals) return withContraction(text, small, end);
  if (capitals === from) return -1;
  // Nothing small follows: the first alternative gives back capitals until it ends in a character of both sets.
  for (let at = capitals; at > from; ) {
    at -= widthBefore(text, at);
    if (classAt(text, at) & lower) return withContraction(text, at + widthAt(text, at), end);
  }
  return withContraction(text, capitals, end);
}

/** Whether the second alternative made this word, which a mark in front, itself a word by the first, goes before. */
function isAllCapital(text: string, from: number, to: number): boolean {
  for (let at = from; at < to && text.charCodeAt(at) !== apostrophe; at += widthAt(text, at)) {
    if (classAt(text, at) & lower) return false;
  }
  return true;
}

function widthBefore(text: string, at: number): number {
  const unit = text.charCodeAt(at - 1);
  return unit < 0xdc00 || unit > 0xdfff ? 1 : 2;
}

function withContraction(text: string, at: number, end: number): number {
  if (at >= end || text.charCodeAt(at) !== apostrophe) return at;
  const length = contraction(text, at + 1, end, true);
  return length > 0 ? at + 1 + length : at;
}

function digitsEnd(text: string, from: number, end: number, limit: number): number {
  let at = from;
  for (let count = 0; count < limit && at < end && classAt(text, at) & digit; count++) at += widthAt(text, at);
  return at;
}

/** ` ?[^\s\p{L}\p{N}]+[\r\n]*` (in o200k with slashes too), else white space. */
function symbolsEnd(text: string, from: number, end: number, slashes: boolean): number {
  const body = text.charCodeAt(from) === blank ? from + 1 : from;
  if (body >= end || (classAt(text, body) & other) === 0) return linesEnd(text, from, end);
  let to = runEnd(text, body, end, other);
  while (to < end) {
    const unit = text.charCodeAt(to);
    if (unit !== 0x0a && unit !== 0x0d && !(slashes && unit === slash)) break;
    to++;
  }
  return to;
}

/** `\s*[\r\n]+`, else `\s+(?!\S)`, else `\s+`. */
function linesEnd(text: string, from: number, end: number): number {
  const to = runEnd(text, from, end, space);
  for (let last = to; last > from; last--) if (classAt(text, last - 1) & newline) return last;
  return lastForWord(from, to, end);
}

/** `\s+(?!\S)`, else `\s+`. */
function spacesEnd(text: string, from: number, end: number): number {
  return lastForWord(from, runEnd(text, from, end, space), end);
}

/** The last space before a word stays for the word; every white-space character is one unit wide. */
function lastForWord(from: number, to: number, end: number): number {
  return to < end && to - from > 1 ? to - 1 : to;
}

/** Length of `s t re ve m ll d` at this place, else 0. Ignoring case, U+017F (long s) counts as an s, as in Oniguruma. */
function contraction(text: string, at: number, end: number, ignoreCase: boolean): number {
  const first = small(text, at, end, ignoreCase);
  if (first === "s" || first === "t" || first === "m" || first === "d") return 1;
  if (first !== "r" && first !== "v" && first !== "l") return 0;
  return small(text, at + 1, end, ignoreCase) === (first === "l" ? "l" : "e") ? 2 : 0;
}

function small(text: string, at: number, end: number, ignoreCase: boolean): string {
  if (at >= end) return "";
  const character = text.charAt(at);
  if (!ignoreCase) return character;
  return character === "\u017f" ? "s" : character.toLowerCase();
}
