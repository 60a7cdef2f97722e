/** A place in a text and the tokens that are read from there: what the parser of IR is made of. Every fault is a FormatError
 *  with its line and column, and reading takes time in proportion to the text. */
import { FormatError } from "../errors.ts";

export interface Reader {
  readonly text: string;
  /** Of the next character. */
  at: number;
}

export function list<T, P extends Reader>(p: P, element: (p: P) => T): T[] {
  const items: T[] = [];
  expect(p, "[");
  if (tryText(p, "]")) return items;
  do items.push(element(p));
  while (tryText(p, ","));
  expect(p, "]");
  return items;
}

export function integer(p: Reader): number {
  const from = p.at;
  const n = Number(match(p, /-?\d+(?!\.\d|\w)/y, "an integer"));
  return Number.isSafeInteger(n) && !Object.is(n, -0) ? n : fail(p, "an integer below 2**53", from);
}

export function count(p: Reader): number {
  const from = p.at;
  const n = integer(p);
  return n >= 0 ? n : fail(p, "an integer of at least 0", from);
}

export const number = (p: Reader): number =>
  Number(match(p, /-?(?:NaN|Infinity|\d+(?:\.\d+)?(?:e[+-]?\d+)?)/y, "a number"));

export const identifier = (p: Reader, what: string): string => match(p, /[A-Za-z_]\w*/y, what);

export function string(p: Reader): string {
  skip(p);
  const from = p.at;
  if (p.text[from] !== '"') return fail(p, "a text in double quotes", from);
  for (p.at++; p.at < p.text.length && p.text[p.at] !== '"' && p.text[p.at] !== "\n"; p.at++)
    if (p.text[p.at] === "\\") p.at++;
  const quoted = p.text.slice(from, ++p.at);
  return guard(p, from, () => JSON.parse(quoted) as string);
}

/** The user's line, in a comment that ends a line. */
export function comment(p: Reader): string | undefined {
  const found = take(p, /[ \t]*\/\/ ?([^\n]*)/y);
  return found?.[1];
}

function take(p: Reader, pattern: RegExp): RegExpExecArray | null {
  pattern.lastIndex = p.at;
  const found = pattern.exec(p.text);
  if (found) p.at += found[0].length;
  return found;
}

export function match(p: Reader, pattern: RegExp, what: string): string {
  skip(p);
  return take(p, pattern)?.[0] ?? fail(p, what, p.at);
}

/** White space and comments on lines of their own. */
export function skip(p: Reader): void {
  for (;;) {
    const c = p.text[p.at];
    if (c === " " || c === "\n" || c === "\t" || c === "\r") p.at++;
    else if (c === "/" && p.text[p.at + 1] === "/") {
      const end = p.text.indexOf("\n", p.at);
      p.at = end < 0 ? p.text.length : end;
    } else return;
  }
}

export function tryText(p: Reader, text: string): boolean {
  skip(p);
  if (!p.text.startsWith(text, p.at)) return false;
  p.at += text.length;
  return true;
}

export function tryWord(p: Reader, word: string): boolean {
  skip(p);
  const next = p.text[p.at + word.length] ?? " ";
  return !/\w/.test(next) && tryText(p, word);
}

export function expect(p: Reader, text: string): void {
  if (!tryText(p, text)) fail(p, JSON.stringify(text), p.at);
}

export function expectWord(p: Reader, word: string): void {
  if (!tryWord(p, word)) fail(p, JSON.stringify(word), p.at);
}

/** An error of the IR, told with its place in the text. */
export function guard<T>(p: Reader, from: number, body: () => T): T {
  try {
    return body();
  } catch (cause) {
    throw new FormatError(`${place(p, from)}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

export function fail(p: Reader, expected: string, at: number): never {
  const rest = p.text.slice(at, at + 24).split("\n")[0] ?? "";
  throw new FormatError(
    `${place(p, at)}: expected ${expected}, got ${rest === "" ? "the end of the line" : JSON.stringify(rest)}`,
  );
}

function place(p: Reader, at: number): string {
  const before = p.text.slice(0, at).split("\n");
  return `IR text, line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`;
}
