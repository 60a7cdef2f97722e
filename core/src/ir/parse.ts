/** Reads back what `print` writes. The text may come from anywhere: every fault is a FormatError with its line and column,
 *  and nothing in the text can make the work more than proportional to its length. */
import { isOp, newScope } from "../ops/table.ts";
import { attrFault, type AttrKind, kindsOf } from "./attr-kinds.ts";
import { addDim, type Dim, mulDim, type Poly } from "./dim.ts";
import { symbol } from "./symbol.ts";
import { type DType, isDType } from "./dtype.ts";
import { type Fn, makeFn } from "./fn.ts";
import type { Attrs, Node, NodeOf, Op } from "./node.ts";
import {
  comment,
  count,
  expect,
  expectWord,
  fail,
  guard,
  identifier,
  integer,
  list,
  match,
  number,
  type Reader,
  skip,
  string,
  tryText,
  tryWord,
} from "./reader.ts";
import type { Scope } from "./scope.ts";
import { isTuple, type Shard, type Space, type TensorType, type Type, typeEqual, typeText } from "./type.ts";

/** Bounds on what a type may grow to, so that a short text cannot name an enormous one. */
const limits = { depth: 32, rank: 64, terms: 4096, leaves: 4096, symbols: 256 };

interface Parser extends Reader {
  readonly dims: Map<string, Poly>;
  readonly fns: Map<string, Fn>;
  site: string | undefined;
}

/** The last function of the text. Given the scope that a function was built in, with all that it calls, the text of that
 *  function gives the function itself; without one, every function gets a scope of its own, and its nodes the lines of
 *  the user's program that the text tells.
 *  @throws FormatError */
export function parse(text: string, scope?: Scope): Fn {
  const p: Parser = { text, at: 0, dims: new Map(), fns: new Map(), site: undefined };
  let fn: Fn | undefined;
  if (tryWord(p, "dims")) parseBounds(p);
  while ((skip(p), p.at < text.length)) {
    expectWord(p, "fn");
    fn = parseFn(p, scope ?? newScope(() => p.site));
  }
  return fn ?? fail(p, "a function", p.at);
}

function parseBounds(p: Parser): void {
  do {
    const from = p.at;
    const name = identifier(p, "the name of a dimension");
    const lo = integer(p);
    expect(p, "..");
    const hi = integer(p);
    expectWord(p, "multiple");
    const multiple = integer(p);
    if (p.dims.has(name)) fail(p, `a name other than ${name}, which has bounds already`, from);
    if (p.dims.size >= limits.symbols) fail(p, `at most ${limits.symbols} dimensions`, from);
    p.dims.set(
      name,
      guard(p, from, () => symbol(name, { lo, hi, multiple })),
    );
  } while (tryText(p, ","));
}

function parseFn(p: Parser, scope: Scope): Fn {
  const start = p.at;
  const { name, label } = parseLabel(p);
  if (p.fns.has(label)) fail(p, `a name other than ${label}, which is taken`, start);
  const nodes = new Map<string, Node>();
  const params: NodeOf<"param">[] = [];
  expect(p, "(");
  if (!tryText(p, ")")) {
    do params.push(parseParam(p, params.length, scope, nodes));
    while (tryText(p, ","));
    expect(p, ")");
  }
  expect(p, "{");
  while (!tryWord(p, "return")) parseNode(p, scope, nodes);
  const results: Node[] = [];
  if (!tryText(p, "}")) {
    do results.push(reference(p, nodes));
    while (tryText(p, ","));
    expect(p, "}");
  }
  const fn = makeFn(name, params, results);
  p.fns.set(label, fn);
  return fn;
}

function parseParam(p: Parser, place: number, scope: Scope, nodes: Map<string, Node>): NodeOf<"param"> {
  const id = newName(p, nodes);
  const name = string(p);
  skip(p);
  const index = p.text[p.at] === ":" ? place : count(p);
  expect(p, ":");
  const type = parseType(p, 0);
  p.site = undefined;
  const node = scope.make("param", [], { index, name, type });
  nodes.set(id, node);
  return node;
}

function parseNode(p: Parser, scope: Scope, nodes: Map<string, Node>): void {
  const id = newName(p, nodes);
  expect(p, "=");
  skip(p);
  const from = p.at;
  const op = identifier(p, "an op");
  if (!isOp(op)) return fail(p, "an op of the table, or of a family whose module is loaded", from);
  const src: Node[] = [];
  expect(p, "(");
  if (!tryText(p, ")")) {
    do src.push(reference(p, nodes));
    while (tryText(p, ","));
    expect(p, ")");
  }
  const attr = parseAttrs(p, op, from);
  expect(p, ":");
  skip(p);
  const typeAt = p.at;
  const type = parseType(p, 0);
  p.site = comment(p);
  const node = guard(p, from, () => scope.make(op, src, attr as Attrs[typeof op])) as Node;
  if (!withinLimits(node.type)) fail(p, "a type of moderate size", from);
  if (!typeEqual(node.type, type)) fail(p, `${typeText(node.type)}, the type of this ${op}`, typeAt);
  nodes.set(id, node);
}

function parseAttrs(p: Parser, op: Op, from: number): object {
  const attr: Record<string, unknown> = {};
  const kinds = kindsOf(op);
  if (tryText(p, "{")) {
    do {
      skip(p);
      const at = p.at;
      const key = identifier(p, "the name of an attribute");
      const kind = Object.hasOwn(kinds, key) ? kinds[key] : undefined;
      if (kind === undefined || Object.hasOwn(attr, key)) return fail(p, `an attribute of ${op}, each once`, at);
      expect(p, ":");
      attr[key] = parseValue(p, kind);
    } while (tryText(p, ","));
    expect(p, "}");
  }
  const fault = attrFault(op, attr);
  return fault === undefined ? attr : fail(p, `another ${op}: ${fault}`, from);
}

function parseValue(p: Parser, kind: AttrKind): unknown {
  switch (kind) {
    case "number":
      return number(p);
    case "integer":
    case "count":
      return integer(p);
    case "integers":
      return list(p, integer);
    case "boolean":
      return tryWord(p, "true") || (expectWord(p, "false"), false);
    case "pair":
      return list(p, (q) => list(q, integer));
    case "dims":
      return parseDims(p);
    case "text":
    case "dtype":
      return string(p);
    case "type":
    case "tensor":
      return parseType(p, 0);
    case "fn": {
      const from = p.at;
      return p.fns.get(parseLabel(p).label) ?? fail(p, "a function that stands above", from);
    }
    default:
      return typeof kind[0] === "number" ? integer(p) : string(p);
  }
}

function parseLabel(p: Parser): { readonly name: string; readonly label: string } {
  expect(p, "@");
  const name = p.text[p.at] === '"' ? string(p) : identifier(p, "the name of a function");
  if (p.text[p.at] !== "#") return { name, label: name };
  p.at++;
  return { name, label: `${name}#${count(p)}` };
}

function parseType(p: Parser, depth: number): Type {
  skip(p);
  const from = p.at;
  if (depth > limits.depth) fail(p, `tuples nested at most ${limits.depth} deep`, from);
  if (tryText(p, "(")) {
    const tuple: Type[] = [];
    if (!tryText(p, ")")) {
      do tuple.push(parseType(p, depth + 1));
      while (tryText(p, ","));
      expect(p, ")");
    }
    return { tuple };
  }
  const name = identifier(p, "a dtype");
  if (!isDType(name)) return fail(p, "a dtype", from);
  const type = parseTensor(p, name);
  return withinLimits(type) ? type : fail(p, "a type of moderate size", from);
}

function parseTensor(p: Parser, dtype: DType): TensorType {
  const dims = parseDims(p);
  const shard = p.text[p.at] === "{" ? parseShard(p) : undefined;
  let space: Space | undefined;
  if (p.text[p.at] === "@") {
    const from = ++p.at;
    const word = identifier(p, "a space");
    if (word !== "host" && word !== "disk") return fail(p, "host or disk", from);
    space = word;
  }
  return { dtype, dims, ...(shard ? { shard } : {}), ...(space ? { space } : {}) };
}

function parseShard(p: Parser): Shard {
  expect(p, "{");
  const mesh = identifier(p, "the name of a mesh");
  expect(p, ":");
  const dims: string[][] = [];
  skip(p);
  if (p.text[p.at] !== "}" && p.text[p.at] !== "|") {
    do dims.push(axisNames(p));
    while (tryText(p, ";"));
  }
  let partial: Shard["partial"];
  if (tryText(p, "|")) {
    skip(p);
    const from = p.at;
    const op = identifier(p, "sum, max or min");
    if (op !== "sum" && op !== "max" && op !== "min") return fail(p, "sum, max or min", from);
    partial = { op, axes: axisNames(p) };
  }
  expect(p, "}");
  return partial ? { mesh, dims, partial } : { mesh, dims };
}

/** `a,b`, or `_` for none. */
function axisNames(p: Parser): string[] {
  const names: string[] = [];
  do names.push(identifier(p, "the name of a mesh axis"));
  while (tryText(p, ","));
  return names.length === 1 && names[0] === "_" ? [] : names;
}

function parseDims(p: Parser): Dim[] {
  skip(p);
  const from = p.at;
  const dims = list(p, parseDim);
  return moderate(dims) ? dims : fail(p, "a moderate number of dimensions of at least 0", from);
}

const moderate = (dims: readonly Dim[]): boolean =>
  dims.length <= limits.rank &&
  !dims.some((d) => typeof d === "number" && d < 0) &&
  dims.reduce<number>((n, d) => n * (typeof d === "number" ? 1 : d.terms.length), 1) <= limits.terms;

/** `8`, `batch`, `2*batch*time+1`. */
function parseDim(p: Parser): Dim {
  let sum: Dim = parseTerm(p);
  for (let terms = 1; ; terms++) {
    const sign = p.text[p.at];
    if (sign !== "+" && sign !== "-") return sum;
    if (terms > limits.rank) return fail(p, `at most ${limits.rank} terms in a dimension`, p.at);
    if (sign === "+") p.at++;
    sum = addDim(sum, parseTerm(p));
  }
}

function parseTerm(p: Parser): Dim {
  skip(p);
  let product: Dim = /[-\d]/.test(p.text[p.at] ?? "") ? integer(p) : factor(p);
  for (let factors = 1; p.text[p.at] === "*"; factors++) {
    if (factors > 16) return fail(p, "at most 16 factors in a dimension", p.at);
    p.at++;
    product = mulDim(product, factor(p));
  }
  return product;
}

function factor(p: Parser): Dim {
  const from = p.at;
  return p.dims.get(identifier(p, "a dimension")) ?? fail(p, "a dimension with bounds in the first line", from);
}

/** Whether a type is one that a program could mean. Types are checked as they are made, so none is ever much past it. */
function withinLimits(type: Type): boolean {
  let leaves = 0;
  const fits = (t: Type, depth: number): boolean => {
    if (++leaves > limits.leaves || depth > limits.depth) return false;
    return isTuple(t) ? t.tuple.every((part) => fits(part, depth + 1)) : moderate(t.dims);
  };
  return fits(type, 0);
}

function newName(p: Parser, nodes: ReadonlyMap<string, Node>): string {
  skip(p);
  const from = p.at;
  const id = nodeName(p);
  return nodes.has(id) ? fail(p, `a name other than %${id}, which is taken`, from) : id;
}

function reference(p: Parser, nodes: ReadonlyMap<string, Node>): Node {
  skip(p);
  const from = p.at;
  return nodes.get(nodeName(p)) ?? fail(p, "a value that stands above", from);
}

const nodeName = (p: Parser): string => match(p, /%(\d{1,15})/y, "a value like %0").slice(1);
