/** The `pre_tokenizer` of a `tokenizer.json`: the steps that cut text into the pieces inside which BPE may merge. A step
 *  hands each of its pieces to the next; pieces are places in a text, so that nothing is copied where nothing changes. */

import { arrayAt, flagAt, objectAt, stringAt, unexpected } from "./json-value.ts";
import type { JsonObject } from "./json-value.ts";
import { bytesAsCharacters } from "./normalizer.ts";
import { pretokenize, patternSources } from "./pretokenize.ts";
import type { Pattern } from "./pretokenize.ts";
import { type Behavior, behaviorAt, literalSource, patternAt, splitAt } from "./split.ts";
import { punctuation, word } from "./unicode-versions.ts";

/** Takes a piece, `text[start..end)`. @param first whether it begins where the text that was given to `encode` begins */
export type Take = (text: string, start: number, end: number, first: boolean) => void;

export interface PreTokenizer {
  /** The steps in front of the one that takes the pieces. */
  readonly into: (take: Take) => Take;
  /** Whether the last step was ByteLevel: BPE then starts from the UTF-8 bytes of a piece, not from its characters. */
  readonly bytes: boolean;
  /** The part of the file that says so. */
  readonly source: unknown;
}

type Step = (text: string, start: number, end: number, first: boolean, next: Take) => void;

interface Read {
  readonly step: Step;
  readonly isBytes?: boolean;
}

/** @throws FormatError for another kind of pre-tokenizer, or settings that are not supported */
export function readPreTokenizer(value: unknown): PreTokenizer {
  const steps = value === undefined || value === null ? [] : read(value, "tokenizer.json: pre_tokenizer", 0);
  const bytes = steps[steps.length - 1]?.isBytes ?? false;
  const all = steps.flatMap(({ step, isBytes = false }, i) =>
    isBytes && i + 1 < steps.length ? [step, asCharacters] : [step],
  );
  return {
    into: (take) =>
      all.reduceRight<Take>((next, step) => (text, start, end, first) => step(text, start, end, first, next), take),
    bytes,
    source: value ?? null,
  };
}

function read(value: unknown, where: string, depth: number): readonly Read[] {
  const step = objectAt(value, where);
  switch (step["type"]) {
    case "ByteLevel":
      return [{ step: byteLevel(step, where), isBytes: true }];
    case "Split":
      return [{ step: split(step, where) }];
    case "Metaspace":
      return [{ step: metaspace(step, where) }];
    case "Digits":
      return flagAt(step["individual_digits"], `${where}.individual_digits`, false)
        ? [{ step: cutting(/\p{N}/gu, "Isolated") }]
        : [{ step: cutting(/\p{N}/gu, "Contiguous") }];
    case "Punctuation": {
      const behavior = step["behavior"] === undefined ? "Isolated" : behaviorAt(step["behavior"], `${where}.behavior`);
      return [{ step: cutting(punctuation, behavior) }];
    }
    case "Whitespace":
      return [{ step: cutting(wordsAndSymbols, "Removed", true) }];
    case "WhitespaceSplit":
      return [{ step: cutting(/\p{White_Space}/gu, "Removed") }];
    case "BertPreTokenizer":
      return [{ step: cutting(/\p{White_Space}/gu, "Removed") }, { step: cutting(punctuation, "Isolated") }];
    case "CharDelimiterSplit": {
      const delimiter = characterAt(step["delimiter"], `${where}.delimiter`);
      return [{ step: cutting(new RegExp(literalSource(delimiter), "gv"), "Removed") }];
    }
    case "FixedLength":
      return [{ step: fixedLength(step, where) }];
    case "Sequence": {
      if (depth > 8) throw unexpected(where, "at most 8 Sequences inside of each other", "another one");
      const inner = arrayAt(step["pretokenizers"], `${where}.pretokenizers`);
      if (inner.length > 64) throw unexpected(`${where}.pretokenizers`, "at most 64 steps", inner);
      return inner.flatMap((one, i) => read(one, `${where}.pretokenizers[${i}]`, depth + 1));
    }
    default:
      throw unexpected(
        where,
        "null or one of ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit, BertPreTokenizer, CharDelimiterSplit, FixedLength, Sequence",
        step["type"],
        "Other pre-tokenizers, such as UnicodeScripts, are not supported.",
      );
  }
}

const wordsAndSymbols = new RegExp(`${word}+|[^${word}\\p{White_Space}]+`, "gv");

const asCharacters: Step = (text, start, end, first, next) => {
  const characters = bytesAsCharacters(text.slice(start, end));
  next(characters, 0, characters.length, first);
};

function cutting(pattern: RegExp, behavior: Behavior, invert = false): Step {
  return (text, from, to, first, next) => {
    const piece = from === 0 && to === text.length ? text : text.slice(from, to);
    splitAt(piece, pattern, behavior, invert, (start, end) => next(piece, start, end, first && start === 0));
  };
}

function scanning(pattern: Exclude<Pattern, "none">): Step {
  return (text, from, to, first, next) =>
    pretokenize(text, pattern, (start, end) => next(text, start, end, first && start === from), from, to);
}

function byteLevel(step: JsonObject, where: string): Step {
  flagAt(step["trim_offsets"], `${where}.trim_offsets`, true);
  const cut = flagAt(step["use_regex"], `${where}.use_regex`, true) ? scanning("gpt2") : undefined;
  const prefixed = flagAt(step["add_prefix_space"], `${where}.add_prefix_space`, true);
  const inside: Step = cut ?? ((text, start, end, first, next) => next(text, start, end, first));
  if (!prefixed) return inside;
  return (text, start, end, first, next) => {
    if (text.charCodeAt(start) === 0x20) return inside(text, start, end, first, next);
    const longer = ` ${text.slice(start, end)}`;
    inside(longer, 0, longer.length, first, next);
  };
}

function split(step: JsonObject, where: string): Step {
  const behavior = behaviorAt(step["behavior"], `${where}.behavior`);
  const invert = flagAt(step["invert"], `${where}.invert`, false);
  const source = objectAt(step["pattern"], `${where}.pattern`)["Regex"];
  const known = (Object.keys(patternSources) as (keyof typeof patternSources)[]).find(
    (name) => patternSources[name] === source,
  );
  // These expressions match all of any text, so to drop what is between their matches is to drop nothing.
  const whole = behavior === "Isolated" || (behavior === "Removed" && invert);
  if (known !== undefined && whole) return scanning(known);
  return cutting(patternAt(step["pattern"], `${where}.pattern`), behavior, invert);
}

function metaspace(step: JsonObject, where: string): Step {
  const replacement = characterAt(step["replacement"], `${where}.replacement`);
  const scheme = prependScheme(step, where);
  const splits = flagAt(step["split"], `${where}.split`, true);
  const marks = new RegExp(literalSource(replacement), "gv");
  return (text, start, end, first, next) => {
    let piece = text.slice(start, end).replaceAll(" ", () => replacement);
    const wanted = scheme === "always" || (scheme === "first" && first);
    if (wanted && !piece.startsWith(replacement)) piece = replacement + piece;
    if (!splits) return next(piece, 0, piece.length, first);
    splitAt(piece, marks, "MergedWithNext", false, (from, to) => next(piece, from, to, first && from === 0));
  };
}

/** When Metaspace puts its mark in front: the newer field, or the flag of older files. */
export function prependScheme(step: JsonObject, where: string): "always" | "first" | "never" {
  const scheme = step["prepend_scheme"];
  const legacy = flagAt(step["add_prefix_space"], `${where}.add_prefix_space`, true);
  if (scheme === undefined) return legacy ? "always" : "never";
  if (scheme === "always" || scheme === "first" || scheme === "never") return scheme;
  throw unexpected(`${where}.prepend_scheme`, "always, first or never", scheme);
}

/** One character. */
export function characterAt(value: unknown, where: string): string {
  const text = stringAt(value, where);
  if (Array.from(text).length !== 1 || !text.isWellFormed()) throw unexpected(where, "one character", text);
  return text;
}

function fixedLength(step: JsonObject, where: string): Step {
  const length = step["length"] ?? 5;
  if (typeof length !== "number" || !Number.isSafeInteger(length) || length < 1) {
    throw unexpected(`${where}.length`, "a positive integer", length);
  }
  return (text, from, to, first, next) => {
    for (let start = from; start < to; ) {
      let end = start;
      for (let i = 0; i < length && end < to; i++) end += (text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1;
      next(text, start, end, first && start === from);
      start = end;
    }
  };
}
