/** What each attribute of each op is: the parser reads by this table, the verifier checks by it. An op that is loaded on demand
 *  has them in its entry. */
import { type Dim, dimText } from "./dim.ts";
import { isDType } from "./dtype.ts";
import { define } from "../ops/table.ts";
import type { Attrs, Op, RareOp } from "./node.ts";

/** `count`: an integer of at least 0; `integers`: a list of integers; a list of texts or numbers: one of them. */
export type AttrKind =
  | "number"
  | "integer"
  | "count"
  | "integers"
  | "boolean"
  | "pair"
  | "dims"
  | "text"
  | "dtype"
  | "type"
  | "tensor"
  | "fn"
  | readonly (string | number)[];

export type AttrKinds<O extends Op> = { readonly [K in keyof Attrs[O]]: AttrKind };

export const reduceKinds = ["sum", "prod", "max", "min"] as const;

const attrKinds: { readonly [O in Exclude<Op, RareOp>]: AttrKinds<O> } = {
  const: { value: "number", dtype: "dtype" },
  param: { index: "count", name: "text", type: "type" },
  iota: { dtype: "dtype", dims: "dims", axis: "count" },
  random: { dims: "dims", words: [1, 2] },
  neg: {},
  abs: {},
  sign: {},
  sqrt: {},
  rsqrt: {},
  exp: {},
  log: {},
  sin: {},
  cos: {},
  tanh: {},
  erf: {},
  floor: {},
  round: {},
  not: {},
  add: {},
  sub: {},
  mul: {},
  div: {},
  idiv: {},
  mod: {},
  pow: {},
  max: {},
  min: {},
  lt: {},
  eq: {},
  and: {},
  or: {},
  xor: {},
  shl: {},
  shr: {},
  where: {},
  cast: { dtype: "dtype" },
  bitcast: { dtype: "dtype" },
  reshape: { dims: "dims" },
  permute: { axes: "integers" },
  expand: { dims: "dims" },
  pad: { low: "dims", high: "dims", value: "number" },
  slice: { start: "dims", size: "dims", step: "integers" },
  flip: { axes: "integers" },
  concat: { axis: "count" },
  reduce: { kind: reduceKinds, axes: "integers" },
  dot: { contract: "pair", batch: "pair" },
  gather: { axis: "count" },
  scatter: { axis: "count", mode: ["add", "set"] },
  stopGradient: {},
  alias: { tag: "integer" },
  assign: {},
  call: { fn: "fn" },
  tuple: {},
  item: { index: "count" },
  range: { id: "integer", extent: "count", kind: ["loop", "parallel", "reduce", "unroll", "vector", "outer"] },
  scratch: { id: "integer", type: "tensor" },
  load: {},
  store: {},
  accumulate: { kind: reduceKinds },
  nest: { order: "integers" },
  loop: { kind: ["serial", "parallel"] },
  kernel: {},
};

/** The kinds of one op's attributes by name, for whoever handles all ops alike. */
export const kindsOf = (op: Op): Readonly<Record<string, AttrKind>> =>
  (attrKinds as Partial<Readonly<Record<Op, Readonly<Record<string, AttrKind>>>>>)[op] ?? define(op).attrs ?? {};

const isObject = (v: unknown): v is Readonly<Record<string, unknown>> => typeof v === "object" && v !== null;
const isInteger = (v: unknown): v is number => Number.isSafeInteger(v) && !Object.is(v, -0);
const isCount = (v: unknown): v is number => isInteger(v) && v >= 0;
const isIntegers = (v: unknown): boolean => Array.isArray(v) && v.every(isInteger);
const isDim = (v: unknown): v is Dim =>
  isCount(v) || (isObject(v) && Array.isArray(v["terms"]) && typeof v["text"] === "string");
const isTensorType = (v: unknown): boolean =>
  isObject(v) &&
  typeof v["dtype"] === "string" &&
  isDType(v["dtype"]) &&
  Array.isArray(v["dims"]) &&
  v["dims"].every(isDim);
const isType = (v: unknown): boolean =>
  isTensorType(v) || (isObject(v) && Array.isArray(v["tuple"]) && v["tuple"].every(isType));

function isKind(v: unknown, kind: AttrKind): boolean {
  switch (kind) {
    case "number":
      return typeof v === "number";
    case "integer":
      return isInteger(v);
    case "count":
      return isCount(v);
    case "integers":
      return isIntegers(v);
    case "boolean":
      return typeof v === "boolean";
    case "pair":
      return Array.isArray(v) && v.length === 2 && v.every(isIntegers);
    case "dims":
      return Array.isArray(v) && v.every(isDim);
    case "text":
      return typeof v === "string";
    case "dtype":
      return typeof v === "string" && isDType(v);
    case "type":
      return isType(v);
    case "tensor":
      return isTensorType(v);
    case "fn":
      return isObject(v) && Array.isArray(v["results"]) && Array.isArray(v["params"]);
    default:
      return kind.includes(v as string | number);
  }
}

/** What is wrong with an op's attributes, or undefined. */
export function attrFault(op: Op, attr: object): string | undefined {
  const kinds = kindsOf(op);
  const values = attr as Readonly<Record<string, unknown>>;
  const extra = Object.keys(values).find((k) => !Object.hasOwn(kinds, k));
  if (extra !== undefined) return `it has no attribute ${extra}`;
  for (const [key, kind] of Object.entries(kinds)) {
    const fault = valueFault(values[key], kind);
    if (fault !== undefined) return `its attribute ${key} should be ${fault}`;
  }
  return undefined;
}

/** What a value should be where it is not of the kind, or undefined. */
export function valueFault(value: unknown, kind: AttrKind): string | undefined {
  if (isKind(value, kind)) return undefined;
  const name = typeof kind === "string" ? meanings[kind] : `one of ${kind.join(", ")}`;
  return `${name}, not ${isDim(value) ? dimText(value) : JSON.stringify(value)}`;
}

const meanings: Readonly<Record<Extract<AttrKind, string>, string>> = {
  number: "a number",
  integer: "an integer",
  count: "an integer of at least 0",
  integers: "a list of integers",
  boolean: "true or false",
  pair: "a pair of lists of integers",
  dims: "a list of dimensions",
  text: "a text",
  dtype: "a dtype",
  type: "a type",
  tensor: "a tensor type",
  fn: "a function",
};
