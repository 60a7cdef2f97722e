/** What kind of character a code point is, for the scanners that cut text: looked up in one table that fills as characters
 *  are met, because asking the regex engine for `\p{L}` each time is fifty times slower. */

import { isSince17, unassigned } from "./unicode-versions.ts";

/** Bits of a class. `upper` and `lower` are the two sets of the o200k expression, which have members in common. */
export const letter = 1;
export const digit = 2;
export const space = 4;
/** Neither letter, number nor white space. */
export const other = 8;
/** `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]` */
export const upper = 16;
/** `[\p{Ll}\p{Lm}\p{Lo}\p{M}]` */
export const lower = 32;
/** CR or LF. */
export const newline = 64;

const classes = new Uint8Array(0x110000);

/** Small in the Unicode of the Rust library, caseless since Unicode 17. */
const caseless = 0x295;

/** Class of a code point: `letter`, `digit`, `space` or `other`, with the bits of the sets that it is in. */
export function classOf(codePoint: number): number {
  return classes[codePoint] || classify(codePoint);
}

function classify(codePoint: number): number {
  const character = isSince17(codePoint) ? unassigned : String.fromCodePoint(codePoint);
  let found = other;
  if (/^\p{L}$/u.test(character)) found = letter;
  else if (/^\p{N}$/u.test(character)) found = digit;
  else if (/^\p{White_Space}$/u.test(character)) found = space;
  if (/^[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]$/u.test(character)) found |= upper;
  if (/^[\p{Ll}\p{Lm}\p{Lo}\p{M}]$/u.test(character)) found |= lower;
  if (codePoint === caseless) found &= ~upper;
  if (codePoint === 0x0a || codePoint === 0x0d) found |= newline;
  classes[codePoint] = found;
  return found;
}

/** Class of the character that begins at a place of well-formed text. */
export function classAt(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  if (unit < 0xd800 || unit > 0xdbff) return classes[unit] || classify(unit);
  return classOf(text.codePointAt(at) ?? 0);
}

/** Units of the character that begins at a place of well-formed text: 1 or 2. */
export function widthAt(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  return unit < 0xd800 || unit > 0xdbff ? 1 : 2;
}

/** Where the run of characters whose class has a bit of `mask` ends, at most at `end`. */
export function runEnd(text: string, from: number, end: number, mask: number): number {
  let at = from;
  while (at < end) {
    const unit = text.charCodeAt(at);
    if (unit < 0xd800 || unit > 0xdbff) {
      if (((classes[unit] || classify(unit)) & mask) === 0) return at;
      at++;
    } else {
      if ((classOf(text.codePointAt(at) ?? 0) & mask) === 0) return at;
      at += 2;
    }
  }
  return at;
}
