/** Attributes as text: the key under which nodes are interned, the input of the structural hash and the printed form. */
import type { Poly } from "./dim.ts";
import type { Fn } from "./fn.ts";
import { typeText } from "./type.ts";
import type { Type } from "./type.ts";

type Value = number | string | boolean | Poly | Fn | Type | readonly Value[];

const isPoly = (v: object): v is Poly => "terms" in v;
const isFn = (v: object): v is Fn => "results" in v;

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

/** A quick hash of an op and its attributes: numbers and lists of numbers count, the rest is left to the check of equality. */
export function attrHash(op: string, attr: object): number {
  let h = op.length * 31 + op.charCodeAt(0) + (op.charCodeAt(1) << 8);
  for (const key in attr) {
    const value = (attr as Readonly<Record<string, unknown>>)[key];
    if (typeof value === "number") h = mixHash(h, value);
    else if (Array.isArray(value)) for (const v of value) h = mixHash(h, typeof v === "number" ? v : 1);
  }
  return h;
}
