/** Cutting text into the pieces inside which BPE may merge. The cuts are those of a few published regular expressions,
 *  made by one scanner instead of the regex engine: it is faster, needs no stack on long runs, gives the Unicode meaning of
 *  `\s` that the Rust library has (JavaScript's differs), and a hostile file cannot bring an expression of its own. */

/** `gpt2`: GPT-2 and the default of Hugging Face's ByteLevel. `llama3`: LLaMA-3 (also cl100k, GPT-4): contractions in any
 *  case, numbers in groups of three digits, one leading punctuation mark, newlines apart. `qwen2`: the same with single
 *  digits. `none`: the whole text is one piece. */
export type Pattern = "gpt2" | "llama3" | "qwen2" | "none";

/** The expressions as `tokenizer.json` writes them (in the Oniguruma dialect); what the scanner does is defined by them. */
export const patternSources = {
  gpt2: String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  llama3: cl100k(String.raw`\p{N}{1,3}`),
  qwen2: cl100k(String.raw`\p{N}`),
} as const satisfies Record<Exclude<Pattern, "none">, string>;

function cl100k(digits: string): string {
  const before = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|`;
  return `${before}${digits}${String.raw`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`}`;
}

const letter = 1;
const digit = 2;
const space = 3;
const other = 4;

/** Class of each UTF-16 unit; filled on first use. Surrogates are looked up by code point. */
let classes: Uint8Array | undefined;

function classify(character: string): number {
  if (/^\p{L}$/u.test(character)) return letter;
  if (/^\p{N}$/u.test(character)) return digit;
  return /^\p{White_Space}$/u.test(character) ? space : other;
}

function classTable(): Uint8Array {
  if (classes) return classes;
  classes = new Uint8Array(0x10000);
  for (let unit = 0; unit < 0x10000; unit++) classes[unit] = classify(String.fromCharCode(unit));
  return classes;
}

const apostrophe = 0x27;
const blank = 0x20;
const isNewline = (unit: number): boolean => unit === 0x0a || unit === 0x0d;

/** Calls `emit(start, end)` for each piece of `text` from left to right; the pieces cover the text without gaps.
 *  Linear in the length of the text, whatever it holds.
 *
 *  @param text well-formed UTF-16 */
export function pretokenize(text: string, pattern: Pattern, emit: (start: number, end: number) => void): void {
  if (pattern === "none") {
    if (text.length > 0) emit(0, text.length);
    return;
  }
  const table = classTable();
  const end = text.length;
  const gpt2 = pattern === "gpt2";
  const maxDigits = gpt2 ? Infinity : pattern === "llama3" ? 3 : 1;

  const width = (at: number): number => {
    const unit = text.charCodeAt(at);
    return unit >= 0xd800 && unit < 0xdc00 && at + 1 < end ? 2 : 1;
  };
  const classAt = (at: number): number => {
    if (at >= end) return 0;
    const unit = text.charCodeAt(at);
    return unit >= 0xd800 && unit < 0xdc00 ? classify(text.slice(at, at + 2)) : (table[unit] ?? other);
  };
  const run = (from: number, kind: number, limit = Infinity): number => {
    let at = from;
    for (let count = 0; count < limit && classAt(at) === kind; count++) at += width(at);
    return at;
  };

  let at = 0;
  while (at < end) {
    const start = at;
    at = pieceEnd(start);
    emit(start, at);
  }

  /** End of the piece that starts here: the alternatives of the expression, in its order. */
  function pieceEnd(from: number): number {
    const unit = text.charCodeAt(from);
    if (unit === apostrophe) {
      const length = contraction(text, from + 1, !gpt2);
      if (length > 0) return from + 1 + length;
    }
    const kind = classAt(from);
    if (kind === letter) return run(from, letter);
    if (gpt2) {
      const body = unit === blank ? from + 1 : from;
      const bodyKind = classAt(body);
      if (bodyKind === letter || bodyKind === digit || bodyKind === other) return run(body, bodyKind);
      return spaces(from);
    }
    if (kind !== digit && !isNewline(unit)) {
      const after = from + width(from);
      if (classAt(after) === letter) return run(after, letter);
    }
    if (kind === digit) return run(from, digit, maxDigits);
    const body = unit === blank ? from + 1 : from;
    if (classAt(body) === other) {
      let to = run(body, other);
      while (to < end && isNewline(text.charCodeAt(to))) to++;
      return to;
    }
    return spaces(from);
  }

  /** `\s*[\r\n]+` (not in GPT-2's), else `\s+(?!\S)`, else `\s+`. */
  function spaces(from: number): number {
    const to = run(from, space);
    if (!gpt2) {
      let last = to - 1;
      while (last >= from && !isNewline(text.charCodeAt(last))) last--;
      if (last >= from) return last + 1;
    }
    // The last space before a word stays for the word; every white-space character is one unit wide.
    return to < end && to - from > 1 ? to - 1 : to;
  }
}

/** Length of `s t re ve m ll d` at this place, else 0. Ignoring case, U+017F (long s) counts as an s, as in Oniguruma. */
function contraction(text: string, at: number, ignoreCase: boolean): number {
  const lower = (offset: number): string => {
    const character = text.charAt(at + offset);
    if (!ignoreCase) return character;
    return character === "\u017f" ? "s" : character.toLowerCase();
  };
  const first = lower(0);
  if (first === "s" || first === "t" || first === "m" || first === "d") return 1;
  const pair = first + lower(1);
  return pair === "re" || pair === "ve" || pair === "ll" ? 2 : 0;
}
