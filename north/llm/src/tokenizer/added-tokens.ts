/** Tokens that stand outside BPE: they are found in the text before it is cut into pieces and become one id whole. */

import { word } from "./unicode-versions.ts";

/** One entry of `added_tokens` in `tokenizer.json`. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Left out by `decode(ids, { skipSpecialTokens: true })`. */
  readonly special: boolean;
  /** Looked for after Unicode normalisation, not before. */
  readonly normalized: boolean;
  /** Found only where no letter, mark, digit or `_` touches it. */
  readonly singleWord: boolean;
  /** Takes the white space before it, or after it, along. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** A part of a text: an added token with its id, or the text between two of them (then `id` is -1). */
export interface Segment {
  readonly id: number;
  readonly start: number;
  readonly end: number;
}

/** Splits a text at the added tokens.
 *  @param asText read special tokens as text */
export type Splitter = (text: string, asText: boolean) => readonly Segment[];

/** Builds the function that splits a text at the given tokens: at each place the longest that fits, from the left.
 *  Source: `AddedVocabulary::find_matches` of the Rust library, whose order of checks it follows. */
export function splitter(tokens: readonly AddedToken[]): Splitter {
  if (tokens.length === 0) return (text) => (text === "" ? [] : [{ id: -1, start: 0, end: text.length }]);
  const find = finder(tokens);
  return (text, asText) => {
    const segments: Segment[] = [];
    let from = 0;
    for (let found = find(text, 0); found !== undefined; found = find(text, found.at + found.token.content.length)) {
      const { token, at } = found;
      let start = at;
      let end = at + token.content.length;
      if (asText && token.special) continue;
      if (token.singleWord && (wordEnds.test(before(text, start)) || wordBegins.test(text.slice(end, end + 2))))
        continue;
      if (token.lstrip) while (start > from && isSpace(text, start - 1)) start--;
      if (token.rstrip) while (end < text.length && isSpace(text, end)) end++;
      if (from < start) segments.push({ id: -1, start: from, end: start });
      segments.push({ id: token.id, start, end });
      from = end;
    }
    if (from < text.length) segments.push({ id: -1, start: from, end: text.length });
    return segments;
  };
}

const wordBegins = new RegExp(`^${word}`, "v");
const wordEnds = new RegExp(`${word}$`, "v");

const before = (text: string, at: number): string => text.slice(Math.max(0, at - 2), at);
const isSpace = (text: string, at: number): boolean => /\p{White_Space}/u.test(text.charAt(at));

interface Found {
  readonly token: AddedToken;
  readonly at: number;
}

/** Finds the first place, from a given one on, where a token stands, and the longest that stands there. */
function finder(tokens: readonly AddedToken[]): (text: string, from: number) => Found | undefined {
  const byContent = new Map<string, AddedToken>();
  for (const token of tokens) if (!byContent.has(token.content)) byContent.set(token.content, token);
  const lengths = new Map<string, number[]>(); // of the tokens that begin with a unit, longest first
  for (const content of byContent.keys()) {
    const known = lengths.get(content.charAt(0));
    if (known === undefined) lengths.set(content.charAt(0), [content.length]);
    else if (!known.includes(content.length)) known.push(content.length);
  }
  for (const known of lengths.values()) known.sort((a, b) => b - a);

  const tokenAt = (text: string, at: number): AddedToken | undefined => {
    for (const length of lengths.get(text.charAt(at)) ?? []) {
      const token = byContent.get(text.slice(at, at + length));
      if (token !== undefined) return token;
    }
    return undefined;
  };

  const firsts = [...lengths.keys()];
  if (firsts.length === 1) {
    const first = firsts[0] ?? "";
    return (text, from) => {
      for (let at = text.indexOf(first, from); at >= 0; at = text.indexOf(first, at + 1)) {
        const token = tokenAt(text, at);
        if (token !== undefined) return { token, at };
      }
      return undefined;
    };
  }
  const begins = new Uint8Array(0x10000);
  for (const first of firsts) begins[first.charCodeAt(0)] = 1;
  return (text, from) => {
    for (let at = from; at < text.length; at++) {
      if (begins[text.charCodeAt(at)] === 0) continue;
      const token = tokenAt(text, at);
      if (token !== undefined) return { token, at };
    }
    return undefined;
  };
}
