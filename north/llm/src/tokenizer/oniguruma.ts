/** Regular expressions of a `tokenizer.json`, which are in Oniguruma's dialect, as JavaScript's: what differs is spelt out
 *  (white space, words, possessive and atomic groups, groups that ignore case). What JavaScript cannot say, and what could
 *  take exponential time, is refused: a file that came from elsewhere must not hang the program that reads it.
 *  Source: Oniguruma's doc/RE, syntax ONIG_SYNTAX_ONIGURUMA. */

import { unexpected } from "./json-value.ts";
import { before17, propertyOf16 } from "./unicode-versions.ts";

/** The expression as one of JavaScript, global, with the flag `v`.
 *  @throws FormatError if it is not an expression, or one that is not supported */
export function onigurumaRegExp(source: string, where: string): RegExp {
  if (source.length > 4096) throw unexpected(where, "an expression of at most 4096 characters", `${source.length}`);
  if (source === "" || !source.isWellFormed()) throw unexpected(where, "an expression", source);
  const reader = new Reader(source, where);
  const translated = reader.alternatives(false, 0);
  if (reader.more()) throw reader.refuse("no closing parenthesis without an opening one");
  try {
    return new RegExp(translated.source, "gv");
  } catch {
    throw unexpected(where, "a regular expression that JavaScript can say too", source);
  }
}

/** A part of an expression: `risky` if it can match the same text in several ways, so that repeating it without bound could
 *  take exponential time. */
interface Part {
  readonly source: string;
  readonly risky: boolean;
}

const word = before17(String.raw`\p{Alphabetic}\p{M}\p{Nd}\p{Pc}`);
const digits = before17(String.raw`\p{Nd}`);

/** Of `\w`, the superscripts and fractions of Latin-1 are members too, which `[[:word:]]` does not have. */
const wordEscape = String.raw`${word}\u{b2}\u{b3}\u{b9}\u{bc}-\u{be}`;

/** What a class escape means, inside of brackets. */
const classEscapes: Readonly<Record<string, string>> = {
  s: String.raw`\p{White_Space}`,
  S: String.raw`\P{White_Space}`,
  d: digits,
  D: `[^${digits}]`,
  w: wordEscape,
  W: `[^${wordEscape}]`,
  h: "0-9a-fA-F",
  H: "[^0-9a-fA-F]",
};

const posix: Readonly<Record<string, string>> = {
  alnum: before17(String.raw`\p{Alphabetic}\p{Nd}`),
  alpha: before17(String.raw`\p{Alphabetic}`),
  digit: digits,
  punct: before17(String.raw`\p{P}\p{S}`),
  lower: `${before17(String.raw`\p{Lowercase}`)}\\u{295}`,
  space: String.raw`\p{White_Space}`,
  upper: before17(String.raw`\p{Uppercase}`),
  word,
  xdigit: "0-9a-fA-F",
};

const controls: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, a: 7, e: 27 };

const anchors: Readonly<Record<string, string>> = {
  A: String.raw`(?<![\s\S])`,
  z: String.raw`(?![\s\S])`,
  Z: String.raw`(?=\n?(?![\s\S]))`,
  b: `(?:(?<=[${word}])(?![${word}])|(?<![${word}])(?=[${word}]))`,
  B: `(?:(?<=[${word}])(?=[${word}])|(?<![${word}])(?![${word}]))`,
};

const groups = ["?:", "?=", "?!", "?<=", "?<!"] as const;

/** Reads an expression from left to right, by recursive descent. */
class Reader {
  #at = 0;
  #atomic = 0;
  readonly #source: readonly string[];
  readonly #where: string;

  constructor(source: string, where: string) {
    this.#source = Array.from(source);
    this.#where = where;
  }

  refuse(expected: string): Error {
    return unexpected(this.#where, `a regular expression with ${expected}`, this.#source.join(""));
  }

  more(): boolean {
    return this.#at < this.#source.length;
  }

  #peek(text: string): boolean {
    for (let i = 0; i < text.length; i++) if (this.#source[this.#at + i] !== text[i]) return false;
    return true;
  }

  #take(text: string): boolean {
    if (!this.#peek(text)) return false;
    this.#at += text.length;
    return true;
  }

  #next(): string {
    const character = this.#source[this.#at++];
    if (character === undefined) throw this.refuse("an end where one may be");
    return character;
  }

  /** Alternatives up to a closing parenthesis or the end. */
  alternatives(ignoreCase: boolean, depth: number): Part {
    if (depth > 50) throw this.refuse("at most 50 groups inside of each other");
    const parts: string[] = [];
    let risky = false;
    do {
      let source = "";
      while (this.more() && !this.#peek("|") && !this.#peek(")")) {
        const part = this.#quantified(ignoreCase, depth);
        source += part.source;
        risky ||= part.risky;
      }
      parts.push(source);
    } while (this.#take("|"));
    return { source: parts.join("|"), risky: risky || parts.length > 1 };
  }

  #quantified(ignoreCase: boolean, depth: number): Part {
    let part = this.#atom(ignoreCase, depth);
    for (let count = 0; ; count++) {
      const quantifier = this.#quantifier();
      if (quantifier === undefined) return part;
      // `x{1,3}+` is a repetition of a repetition here, not a possessive one; of one that may be 1, it is `x+`.
      if (count > 0) throw this.refuse("no quantifier of a quantifier");
      const { text, least, most } = quantifier;
      if (most > 16 && part.risky) throw this.refuse("no repetition of what itself repeats or has alternatives");
      if (text.endsWith("}") && least <= 1 && this.#take("+")) {
        part = { source: `${part.source}${least === 0 ? "*" : "+"}`, risky: true };
        continue;
      }
      const lazy = this.#take("?");
      const possessive = !lazy && !text.endsWith("}") && this.#take("+");
      const source = `${part.source}${text}${lazy ? "?" : ""}`;
      part = { source: possessive ? this.#onlyOneWay(source) : source, risky: most > 1 || part.risky };
    }
  }

  #quantifier(): { text: string; least: number; most: number } | undefined {
    if (this.#take("*")) return { text: "*", least: 0, most: Infinity };
    if (this.#take("+")) return { text: "+", least: 1, most: Infinity };
    if (this.#take("?")) return { text: "?", least: 0, most: 1 };
    if (!this.#peek("{")) return undefined;
    const found = /^\{(\d{0,4})(,?)(\d{0,4})\}/.exec(this.#source.slice(this.#at, this.#at + 12).join(""));
    const [text = "", low = "", comma = "", high = ""] = found ?? [];
    if (found === null || (low === "" && high === "")) return undefined; // a brace like any other character
    this.#at += text.length;
    const least = low === "" ? 0 : Number(low);
    const most = comma === "" ? least : high === "" ? Infinity : Number(high);
    if (least > most || least > 1000) throw this.refuse("counts from small to large, the least at most 1000");
    return { text: `{${least}${comma}${high}}`, least, most };
  }

  /** What is in an atomic group, or has a possessive quantifier, is matched in the first way that fits, or not at all. */
  #onlyOneWay(source: string): string {
    const name = `a${this.#atomic++}`;
    return `(?:(?=(?<${name}>${source}))\\k<${name}>)`;
  }

  #atom(ignoreCase: boolean, depth: number): Part {
    const character = this.#next();
    const whole = (source: string): Part => ({ source, risky: false });
    switch (character) {
      case "(":
        return this.#group(ignoreCase, depth);
      case "[":
        return whole(this.#bracket(ignoreCase, depth));
      case ".":
        return whole(String.raw`[^\n]`);
      case "^":
        return whole(String.raw`(?<![^\n])`);
      case "$":
        return whole(String.raw`(?![^\n])`);
      case "*":
      case "+":
      case "?":
        throw this.refuse("something before each quantifier");
      case "\\":
        return whole(this.#escape(ignoreCase));
      default:
        return whole(literal(character, ignoreCase));
    }
  }

  #group(ignoreCase: boolean, depth: number): Part {
    const begin = groups.find((group) => this.#take(group)) ?? "?:";
    let inside = ignoreCase;
    const atomic = this.#take("?>");
    if (this.#take("?i:")) inside = true;
    else if (this.#take("?-i:")) inside = false;
    else if (this.#peek("?")) throw this.refuse("groups of the kinds (?:) (?=) (?!) (?<=) (?<!) (?>) (?i:)");
    const { source, risky } = this.alternatives(inside, depth + 1);
    if (!this.#take(")")) throw this.refuse("a closing parenthesis for each opening one");
    return { source: atomic ? this.#onlyOneWay(source) : `(${begin}${source})`, risky };
  }

  #escape(ignoreCase: boolean): string {
    const character = this.#source[this.#at] ?? "";
    const anchor = Object.hasOwn(anchors, character) ? anchors[character] : undefined;
    if (anchor !== undefined) {
      this.#at++;
      return anchor;
    }
    const found = this.#classEscape();
    return typeof found === "string" ? `[${found}]` : literal(String.fromCodePoint(found), ignoreCase);
  }

  /** An escape that may stand in brackets: the members of a class, or one code point. */
  #classEscape(): string | number {
    const character = this.#next();
    if (Object.hasOwn(classEscapes, character)) return classEscapes[character] ?? "";
    if (Object.hasOwn(controls, character)) return controls[character] ?? 0;
    if (character === "p" || character === "P") return this.#property(character);
    if (character === "x" || character === "u") return this.#hexadecimal(character);
    if (/^[A-Za-z0-9]$/.test(character)) throw this.refuse(`no \\${character}`);
    return character.codePointAt(0) ?? 0;
  }

  #hexadecimal(kind: "x" | "u"): number {
    const rest = this.#source.slice(this.#at, this.#at + 10).join("");
    const pattern = kind === "u" ? /^([0-9a-fA-F]{4})/ : /^(?:\{([0-9a-fA-F]{1,6})\}|([0-9a-fA-F]{1,2}))/;
    const [text = "", first, second] = pattern.exec(rest) ?? [];
    const code = Number.parseInt(first ?? second ?? "", 16);
    if (!(code <= 0x10ffff) || (code >= 0xd800 && code <= 0xdfff)) throw this.refuse(`a character after \\${kind}`);
    this.#at += text.length;
    return code;
  }

  #property(kind: "p" | "P"): string {
    const [text = "", hat, name = ""] =
      /^\{(\^?)([A-Za-z_ -]{1,40})\}/.exec(this.#source.slice(this.#at, this.#at + 48).join("")) ?? [];
    this.#at += text.length;
    const negated = (kind === "P") !== (hat === "^");
    for (const candidate of [name, `Script=${name}`]) {
      const source = `\\${negated ? "P" : "p"}{${candidate}}`;
      try {
        if (new RegExp(source, "u").source !== "") return propertyOf16(source);
      } catch {
        continue;
      }
    }
    throw this.refuse(`properties that JavaScript knows, not ${JSON.stringify(name)}`);
  }

  /** A class in brackets; classes inside of it are united, `&&` intersects. */
  #bracket(ignoreCase: boolean, depth: number): string {
    if (depth > 50) throw this.refuse("at most 50 brackets inside of each other");
    const negated = this.#take("^");
    const operands: string[] = [];
    let members = "";
    for (let first = true; ; first = false) {
      if (!first && this.#take("]")) break;
      if (this.#take("&&")) {
        operands.push(`[${members}]`);
        members = "";
        continue;
      }
      members += this.#member(ignoreCase, depth);
    }
    const inside = operands.length > 0 ? [...operands, `[${members}]`].join("&&") : members;
    return `[${negated ? "^" : ""}${inside}]`;
  }

  #member(ignoreCase: boolean, depth: number): string {
    if (this.#peek("[:")) {
      const rest = this.#source.slice(this.#at, this.#at + 12).join("");
      const [text = "", hat, name = ""] = /^\[:(\^?)([a-z]+):\]/.exec(rest) ?? [];
      const known = Object.hasOwn(posix, name) ? posix[name] : undefined;
      if (known === undefined) throw this.refuse(`bracket classes of ${Object.keys(posix).join(", ")}`);
      this.#at += text.length;
      return hat === "^" ? `[^${known}]` : known;
    }
    if (this.#take("[")) return this.#bracket(ignoreCase, depth + 1);
    const low = this.#endOfRange();
    if (typeof low === "string") return low;
    const isRange = this.#peek("-") && this.#source[this.#at + 1] !== "]" && this.#source[this.#at + 1] !== undefined;
    if (!isRange) return variants(low, ignoreCase).map(escaped).join("");
    this.#at++;
    const high = this.#endOfRange();
    if (typeof high === "string") return `${escaped(low)}${escaped(0x2d)}${high}`;
    if (high < low) throw this.refuse("ranges from low to high");
    const range = `${escaped(low)}-${escaped(high)}`;
    if (!ignoreCase) return range;
    if (high > 0x7f) throw this.refuse("no ranges beyond ASCII in a group that ignores case");
    const letters = Array.from({ length: high - low + 1 }, (_, i) => variants(low + i, true)).flat();
    return range + letters.map(escaped).join("");
  }

  #endOfRange(): string | number {
    const character = this.#next();
    return character === "\\" ? this.#classEscape() : (character.codePointAt(0) ?? 0);
  }
}

function literal(character: string, ignoreCase: boolean): string {
  const all = variants(character.codePointAt(0) ?? 0, ignoreCase).map(escaped);
  return all.length === 1 ? (all[0] ?? "") : `[${all.join("")}]`;
}

/** The characters that are one when case is ignored. */
function variants(code: number, ignoreCase: boolean): readonly number[] {
  if (!ignoreCase) return [code];
  const character = String.fromCodePoint(code);
  const folded = character.toLowerCase();
  const all = new Set([character, folded, character.toUpperCase()]);
  if (folded === "s") all.add("\u017f");
  if (folded === "k") all.add("\u212a");
  return [...all].flatMap((one) => (Array.from(one).length === 1 ? [one.codePointAt(0) ?? 0] : []));
}

const escaped = (code: number): string =>
  /^[A-Za-z0-9]$/.test(String.fromCodePoint(code)) ? String.fromCodePoint(code) : `\\u{${code.toString(16)}}`;
