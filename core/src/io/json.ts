/** A strict JSON reader for files that may be hostile: it refuses a key given twice (`JSON.parse` keeps the last one, so two
 *  readers could see two different tensors in one file), bounds the depth, and says where the text goes wrong. */

import { FormatError } from "../errors.ts";

/** What JSON can say. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const maxDepth = 64;
const blank = /[ \t\n\r]*/y;
const numeral = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;

/** Parses `text` as RFC 8259 JSON.
 *
 *  @param what  what the text is, for the error: `"manifest.json"`
 *  @throws FormatError with the position, also for a key given twice and for nesting beyond 64 levels */
export function parseJson(text: string, what: string): Json {
  let at = 0;

  const fail = (reason: string): never => {
    throw new FormatError(`${what}: not valid JSON at character ${at}: ${reason}`);
  };
  const skipBlank = (): void => {
    blank.lastIndex = at;
    blank.test(text);
    at = blank.lastIndex;
  };
  const found = (): string => (at < text.length ? JSON.stringify(text.slice(at, at + 12)) : "the end of the text");

  const string = (): string => {
    const start = at;
    for (let i = at + 1; ; i++) {
      i = text.indexOf('"', i);
      if (i < 0) return fail("a string that is not closed");
      let escapes = 0;
      while (text[i - 1 - escapes] === "\\") escapes++;
      if (escapes % 2 === 1) continue;
      at = i + 1;
      break;
    }
    try {
      return String(JSON.parse(text.slice(start, at)));
    } catch (cause) {
      at = start;
      throw new FormatError(
        `${what}: not valid JSON at character ${start}: a string with a bad escape or control code`,
        {
          cause,
        },
      );
    }
  };

  const number = (): number => {
    numeral.lastIndex = at;
    const match = numeral.exec(text)?.[0];
    if (match === undefined) return fail(`expected a value, found ${found()}`);
    at += match.length;
    return Number(match);
  };

  const word = <T>(name: string, meaning: T): T => {
    if (!text.startsWith(name, at)) return fail(`expected a value, found ${found()}`);
    at += name.length;
    return meaning;
  };

  /** Reads `item` until `close`, at `at` = the opening bracket. */
  const list = (close: string, item: () => void): void => {
    at++;
    skipBlank();
    if (text[at] === close) {
      at++;
      return;
    }
    for (;;) {
      item();
      skipBlank();
      const next = text[at];
      if (next !== "," && next !== close) fail(`expected "," or "${close}", found ${found()}`);
      at++;
      if (next === close) return;
      skipBlank();
    }
  };

  const value = (depth: number): Json => {
    skipBlank();
    if (depth > maxDepth) fail(`nested deeper than ${maxDepth} levels`);
    switch (text[at]) {
      case "{": {
        const object: { [key: string]: Json } = {};
        list("}", () => {
          if (text[at] !== '"') fail(`expected a key in quotes, found ${found()}`);
          const key = string();
          if (Object.hasOwn(object, key)) fail(`the key ${quote(key)} is given twice`);
          skipBlank();
          if (text[at] !== ":") fail(`expected ":" after the key ${quote(key)}, found ${found()}`);
          at++;
          // Not `object[key] =`, for which "__proto__" would set the prototype.
          if (key === "__proto__") define(object, key, value(depth + 1));
          else object[key] = value(depth + 1);
        });
        return object;
      }
      case "[": {
        const array: Json[] = [];
        list("]", () => array.push(value(depth + 1)));
        return array;
      }
      case '"':
        return string();
      case "t":
        return word("true", true);
      case "f":
        return word("false", false);
      case "n":
        return word("null", null);
      default:
        return number();
    }
  };

  const result = value(0);
  skipBlank();
  if (at < text.length) fail(`expected the end, found ${found()}`);
  return result;
}

/** A name from a file as it may stand in a message: quoted, control codes escaped, cut to 80 characters. */
export function quote(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 77)}...` : name);
}

/** A whole number of 0 or more. JSON can write −0, which readers in other languages do not take for a whole number. */
export function isCount(value: Json | undefined): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0 && !Object.is(value, -0);
}

/** An object, as opposed to an array, null or a plain value. */
export function isObject(value: Json | undefined): value is { [key: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function define(object: object, key: string, value: Json): void {
  Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
}
