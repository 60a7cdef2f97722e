/** Attributes as text: the key under which nodes are interned, the input of the structural hash and the printed form. */
import type { Poly } from "./dim.ts";
import type { Fn } from "./fn.ts";
import { typeText } from "./type.ts";
import type { Type } from "./type.ts";

type Value = number | string | boolean | Poly | Fn | Type | readonly Value[];

const isPoly = (v: object): v is Poly => "terms" in v;
const isFn = (v: object): v is Fn => "results" in v;

/** The functions among attributes, which their node runs, in the order of their keys. */
export const fnsIn = (attr: object): Fn[] =>
  Object.entries(attr)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, v]: [string, unknown]) => (typeof v === "object" && v !== null && isFn(v) ? [v] : []));

/** How a nested function is spelt differs: its name in print, its identity in a key, its hash in a hash. */
export type FnText = (fn: Fn) => string;

/** Numbers are spelt so that each double has one spelling: NaN and −0 included. */
export const numberText = (x: number): string => (Object.is(x, -0) ? "-0" : String(x));

export function valueText(value: Value, fnText: FnText): string {
  if (typeof value === "number") return numberText(value);
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "boolean") return String(value);
  if (isList(value)) return `[${value.map((v) => valueText(v, fnText)).join(", ")}]`;
  if (isPoly(value)) return value.text;
  if (isFn(value)) return fnText(value);
  return typeText(value);
}

const isList = (value: Value): value is readonly Value[] => Array.isArray(value);

/** `{axis: 1, mode: "add"}` with the keys sorted; empty attributes give the empty text. */
export function attrText(attr: object, fnText: FnText): string {
  const entries = Object.entries(attr) as [string, Value][];
  if (entries.length === 0) return "";
  if (entries.length > 1) entries.sort(([a], [b]) => (a < b ? -1 : 1));
  let text = "";
  for (const [key, value] of entries) text += `${text === "" ? "{" : ", "}${key}: ${valueText(value, fnText)}`;
  return `${text}}`;
}

/** FNV-1a over UTF-16 units, 32 bits. */
export function hashText(text: string, seed = 0x811c9dc5): number {
  let h = seed;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

export function mixHash(h: number, value: number): number {
  let x = Math.imul(h ^ value, 0x85ebca6b);
  x ^= x >>> 13;
  return Math.imul(x, 0xc2b2ae35) >>> 0;
}

const wordHashes = new Map<string, number>();

/** The hash of a text that comes again and again: the name of an op, of an attribute, of a dtype. */
function wordHash(word: string): number {
  let h = wordHashes.get(word);
  if (h === undefined) wordHashes.set(word, (h = hashText(word)));
  return h;
}

const double = new Float64Array(1);
const halves = new Uint32Array(double.buffer);

function numberHash(x: number): number {
  if ((x | 0) === x) return x;
  double[0] = x;
  return mixHash(halves[0] as number, halves[1] as number);
}

function valueHash(value: Value): number {
  if (typeof value === "number") return numberHash(value);
  if (typeof value === "string") return wordHash(value);
  if (typeof value === "boolean") return value ? 1 : 2;
  if (isList(value)) return value.reduce<number>((h, v) => mixHash(h, valueHash(v)), value.length);
  if (isPoly(value)) return hashText(value.text);
  return isFn(value) ? value.hash : hashText(typeText(value));
}

/** A hash of an op and its attributes: equal for equal ones, in whatever order their keys stand. A parameter's name does not
 *  count: it is for people. */
export function attrHash(op: string, attr: object): number {
  let h = wordHash(op);
  for (const key in attr)
    if (key !== "name")
      h = (h + mixHash(wordHash(key), valueHash((attr as Readonly<Record<string, Value>>)[key] as Value))) >>> 0;
  return h;
}

/** Whether two attributes are the same in every respect, functions by identity: those of one node then. */
export function attrSame(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (isFn(a) || isFn(b)) return false;
  let keys = 0;
  for (const key in a) {
    keys++;
    if (!attrSame((a as Readonly<Record<string, unknown>>)[key], (b as Readonly<Record<string, unknown>>)[key]))
      return false;
  }
  for (const _ in b) keys--;
  return keys === 0;
}
