/** The `normalizer` of a `tokenizer.json`: what is done to text before it is cut. */

import { bytesToCharacters } from "./bytes.ts";
import { arrayAt, flagAt, objectAt, stringAt, unexpected } from "./json-value.ts";
import { eachMatch, patternAt } from "./split.ts";
import { marks, normalized } from "./unicode-versions.ts";

export interface Normalizer {
  readonly apply: (text: string) => string;
  /** The part of the file that says so. */
  readonly source: unknown;
}

type Apply = (text: string) => string;

const where = "tokenizer.json: normalizer";

/** @throws FormatError for another kind of normalizer, or settings of a wrong type */
export function readNormalizer(value: unknown): Normalizer | null {
  if (value === undefined || value === null) return null;
  return { apply: read(value, where, 0), source: value };
}

function read(value: unknown, at: string, depth: number): Apply {
  const step = objectAt(value, at);
  const { type } = step;
  switch (type) {
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
      return (text) => normalized(text, type);
    case "Lowercase":
      // One character at a time, so that a sigma at the end of a word is like any other, as in Rust's library.
      return (text) => text.replace(/\p{Changes_When_Lowercased}/gu, (character) => character.toLowerCase());
    case "StripAccents":
      return (text) => text.replace(marks, "");
    case "Nmt":
      return nmt;
    case "ByteLevel":
      return (text) => bytesAsCharacters(text);
    case "Strip":
      return strip(
        flagAt(step["strip_left"], `${at}.strip_left`, true),
        flagAt(step["strip_right"], `${at}.strip_right`, true),
      );
    case "Prepend": {
      const prefix = stringAt(step["prepend"], `${at}.prepend`).toWellFormed();
      return (text) => (text === "" ? text : prefix + text);
    }
    case "Replace": {
      const pattern = patternAt(step["pattern"], `${at}.pattern`);
      const content = stringAt(step["content"], `${at}.content`).toWellFormed();
      const { String: literal } = objectAt(step["pattern"], `${at}.pattern`);
      if (typeof literal === "string") return (text) => text.replaceAll(literal, () => content);
      return (text) => replaceMatches(text, pattern, content);
    }
    case "Sequence": {
      if (depth > 8) throw unexpected(at, "at most 8 Sequences inside of each other", "another one");
      const inner = arrayAt(step["normalizers"], `${at}.normalizers`);
      if (inner.length > 64) throw unexpected(`${at}.normalizers`, "at most 64 steps", inner);
      const steps = inner.map((one, i) => read(one, `${at}.normalizers[${i}]`, depth + 1));
      return (text) => steps.reduce((before, apply) => apply(before), text);
    }
    default:
      throw unexpected(
        at,
        "null or one of NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Replace, Nmt, ByteLevel, Sequence",
        type,
        "Other normalizers, such as Precompiled and BertNormalizer, are not supported.",
      );
  }
}

/** Each match of an expression as `content`, which is not looked at for references. */
export function replaceMatches(text: string, pattern: RegExp, content: string): string {
  let out = "";
  let from = 0;
  eachMatch(pattern, text, (start, end) => {
    out += text.slice(from, start) + content;
    from = end;
  });
  return out + text.slice(from);
}

/** Text whose characters are the bytes of `text`, in the byte alphabet. */
export function bytesAsCharacters(text: string): string {
  return bytesToCharacters(new TextEncoder().encode(text));
}

function strip(left: boolean, right: boolean): Apply {
  const isSpace = (text: string, at: number): boolean => /\p{White_Space}/u.test(text.charAt(at));
  return (text) => {
    let start = 0;
    let end = text.length;
    if (left) while (start < end && isSpace(text, start)) start++;
    if (right) while (end > start && isSpace(text, end - 1)) end--;
    return text.slice(start, end);
  };
}

/** NUL, white space, and most of the C1 controls. */
const keptControls = [
  0,
  9,
  10,
  12,
  13,
  ...Array.from({ length: 0x1f }, (_, i) => 0x80 + i).filter((code) => code !== 0x8f),
];

/** Source: sentencepiece's nmt_norm, as in the Rust library's `normalizers::unicode`. */
function nmt(text: string): string {
  return text
    .replace(/\p{Cc}/gu, (character) => (keptControls.includes(character.charCodeAt(0)) ? character : ""))
    .replace(/[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g, " ");
}
