/** Cutting a piece at the matches of an expression: what becomes of the matches is the `behavior` of a pre-tokenizer.
 *  Source: `NormalizedString::split` and `Pattern` of the Rust library. */

import { ArgumentError } from "sinan";
import { objectAt, stringAt, unexpected } from "./json-value.ts";
import { onigurumaRegExp } from "./oniguruma.ts";

const behaviors = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const;
export type Behavior = (typeof behaviors)[number];

export function behaviorAt(value: unknown, where: string): Behavior {
  const found = behaviors.find((name) => name === value);
  if (found === undefined) throw unexpected(where, `one of ${behaviors.join(", ")}`, value);
  return found;
}

/** `{ "String": ... }` or `{ "Regex": ... }` as an expression of JavaScript. */
export function patternAt(value: unknown, where: string): RegExp {
  const pattern = objectAt(value, where);
  if (pattern["Regex"] !== undefined) return onigurumaRegExp(stringAt(pattern["Regex"], `${where}.Regex`), where);
  const text = stringAt(pattern["String"], `${where}.String`);
  if (text === "" || !text.isWellFormed()) throw unexpected(`${where}.String`, "at least one character", text);
  return new RegExp(literalSource(text), "gv");
}

/** An expression that matches this text and nothing else. */
export const literalSource = (text: string): string =>
  Array.from(text, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`).join("");

/** Calls `found` for each match from left to right.
 *  @throws ArgumentError if a match is too long for the regex engine */
export function eachMatch(pattern: RegExp, text: string, found: (start: number, end: number) => void): void {
  pattern.lastIndex = 0;
  for (;;) {
    let match: RegExpExecArray | null;
    try {
      match = pattern.exec(text);
    } catch (cause) {
      throw new ArgumentError(
        `encode: the tokenizer's expression ${pattern.source.slice(0, 60)} cannot match this text`,
        {
          hint: "One of its runs is too long for the regex engine: cut the text into shorter ones.",
          cause,
        },
      );
    }
    if (match === null) return;
    const end = match.index + match[0].length;
    found(match.index, end); // may use the same expression on another text
    pattern.lastIndex = match[0] === "" ? end + widthOf(text, end) : end;
  }
}

const widthOf = (text: string, at: number): number => ((text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1);

/** Cuts `text` at the matches of `pattern`, or, inverted, at what is between them; empty pieces are left out. */
export function splitAt(
  text: string,
  pattern: RegExp,
  behavior: Behavior,
  invert: boolean,
  emit: (start: number, end: number) => void,
): void {
  if (behavior === "Isolated") {
    let from = 0;
    eachMatch(pattern, text, (start, end) => {
      if (from < start) emit(from, start);
      if (start < end) emit(start, end);
      from = end;
    });
    if (from < text.length) emit(from, text.length);
    return;
  }
  for (const { start, end } of joined(ranges(text, pattern, invert), behavior)) if (start < end) emit(start, end);
}

interface Range {
  start: number;
  end: number;
  readonly match: boolean;
}

/** The whole text, cut into matches and what is between them. */
function ranges(text: string, pattern: RegExp, invert: boolean): Range[] {
  const all: Range[] = [];
  let from = 0;
  eachMatch(pattern, text, (start, end) => {
    if (from < start) all.push({ start: from, end: start, match: invert });
    all.push({ start, end, match: !invert });
    from = end;
  });
  if (from < text.length) all.push({ start: from, end: text.length, match: invert });
  return all;
}

function joined(all: readonly Range[], behavior: Exclude<Behavior, "Isolated">): Range[] {
  if (behavior === "Removed") return all.filter(({ match }) => !match);
  const out: Range[] = [];
  let previous = false;
  const backward = behavior === "MergedWithNext";
  for (const range of backward ? all.toReversed() : all) {
    const joins = behavior === "Contiguous" ? range.match === previous : range.match && !previous;
    const last = out[out.length - 1];
    if (!joins || last === undefined) out.push({ ...range });
    else if (backward) last.start = range.start;
    else last.end = range.end;
    previous = range.match;
  }
  return backward ? out.reverse() : out;
}
