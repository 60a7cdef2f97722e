/** Lanes in a language with vectors: a value that varies along the nest's vector range is one or several vectors of registers' size,
 *  in the order of the lanes. Booleans are vectors of integers, 0 or −1, as wide as what was compared. */
import { CODES } from "./codes.ts";
import type { Needs, Vectors, VectorOp } from "./vectors.ts";
import { type DType, dtypes, isFloat } from "../../ir/dtype.ts";
import { dtypeOf, type Node, type Op, type ReduceKind } from "../../ir/node.ts";
import { combiner, fail, operators } from "./text.ts";

/** A value as text: one for all lanes, or vectors. */
export interface Text {
  /** What each lane is kept as. Absent where all lanes agree. */
  readonly element?: DType;
  readonly parts: readonly string[];
}

export const one = (text: string): Text => ({ parts: [text] });
/** The text of a value that is the same in all lanes. */
export const only = ({ parts }: Text): string => parts[0] as string;

/** How lanes of a dtype are kept, but for booleans. */
const elementOf = (dtype: DType): DType => (dtype === "f16" || dtype === "bf16" ? "u16" : dtype);
/** The integers that are masks for lanes of a dtype. */
export const maskOf = (dtype: DType): DType =>
  (["i8", "i16", "i32", "i64"] as const)[Math.log2(dtypes[dtype].bytes)] ?? "i32";

export class Lanes {
  /** The extent of the vector range. */
  readonly width: number;
  readonly #given: Vectors | undefined;
  readonly #needs: Needs;

  constructor(width: number, vectors: Vectors | undefined, needs: Needs) {
    this.width = width;
    this.#given = vectors;
    this.#needs = needs;
  }

  get #vectors(): Vectors {
    return this.#given ?? fail("the language has no vectors", "unroll what varies");
  }

  /** Lanes of one part. */
  #per(element: DType): number {
    return Math.min(this.width, this.#vectors.bytes / dtypes[element].bytes);
  }

  type(element: DType): string {
    return this.#needs.type(element, this.#per(element));
  }

  #help(op: VectorOp, dtype: DType, from: DType, args: readonly string[], lanes = this.#per(from)): string {
    return `${this.#needs.vector(op, dtype, from, lanes)}(${args.join(", ")})`;
  }

  #made(element: DType, part: (i: number) => string): Text {
    return { element, parts: Array.from({ length: this.width / this.#per(element) }, (_, i) => part(i)) };
  }

  /** The same value in every lane. */
  repeat(value: Text, dtype: DType, element = dtype === "bool" ? "i32" : elementOf(dtype)): Text {
    if (value.element !== undefined) return value;
    const text = dtype === "bool" ? `-(${only(value)})` : only(value);
    const repeated = this.#help("allOf", element, element, [text]);
    return this.#made(element, () => repeated);
  }

  /** Whether a vector holds a value for each code of 4 bits. */
  get hasCodes(): boolean {
    return this.width === CODES && this.#given?.chooses === true && this.#given.bytes === 4 * CODES;
  }

  /** Of the values in lanes the one that each lane of `by` names. */
  choice(values: Text, by: Text, dtype: DType): Text {
    return this.#each(dtype, [this.repeat(values, dtype), by], (args) => this.#help("choice", dtype, dtype, args));
  }

  /** Scalars as lanes. */
  pack(dtype: DType, lanes: readonly string[]): Text {
    const element = dtype === "bool" ? "i32" : elementOf(dtype);
    const own = dtype === "bool" ? lanes.map((text) => `-(${text})`) : lanes;
    const per = this.#per(element);
    return this.#made(element, (i) => this.#vectors.pack(this.type(element), own.slice(i * per, (i + 1) * per)));
  }

  /** The numbers of the lanes. */
  numbers(): Text {
    return this.pack(
      "i32",
      Array.from({ length: this.width }, (_, i) => String(i)),
    );
  }

  /** A lane as a scalar. */
  extract({ element, parts }: Text, dtype: DType, i: number): string {
    if (element === undefined) return parts[0] as string;
    const per = this.#per(element);
    const lane = this.#vectors.lane(parts[Math.floor(i / per)] as string, i % per);
    return dtype === "bool" ? `(${lane} != 0)` : lane;
  }

  /** A mask whose lanes are as wide as those of `element`. */
  mask(value: Text, element: DType): Text {
    const to = maskOf(element);
    if (value.element === undefined) return this.repeat(value, "bool", to);
    return value.element === to ? value : this.#converted(value, to, to, value.element, "resize");
  }

  /** Lanes of one size as lanes of another, in as many vectors as those take. */
  #converted(value: Text, to: DType, dtype: DType, from: DType, op: "resize" | "cast"): Text {
    const given = value.element as DType;
    const [mine, theirs] = [this.#per(given), this.#per(to)];
    const lanes = Math.min(mine, theirs);
    const cut = value.parts.flatMap((part) => this.#cut(given, part, mine, lanes));
    const made = cut.map((part) => this.#help(op, dtype, from, [part], lanes));
    return { element: to, parts: this.#joined(to, made, lanes, theirs) };
  }

  #cut(element: DType, part: string, from: number, to: number): string[] {
    if (from === to) return [part];
    return (["low", "high"] as const).flatMap((half) =>
      this.#cut(element, this.#help(half, element, element, [part], from), from / 2, to),
    );
  }

  #joined(element: DType, parts: readonly string[], from: number, to: number): readonly string[] {
    if (from === to) return parts;
    const pairs = Array.from({ length: parts.length / 2 }, (_, i) =>
      this.#help("join", element, element, parts.slice(2 * i, 2 * i + 2), 2 * from),
    );
    return this.#joined(element, pairs, 2 * from, to);
  }

  /** Lanes that lie side by side from the pointer on. */
  load(pointer: (i: number) => string, dtype: DType, mask?: Text): Text {
    const element = dtype === "bool" ? "u8" : elementOf(dtype);
    const per = this.#per(element);
    const masks = mask && this.mask(mask, element).parts;
    const loaded = this.#made(element, (i) =>
      masks
        ? this.#help("get", element, element, [pointer(i * per), masks[i] as string])
        : this.#vectors.reinterpret(this.type(element), this.#vectors.place(pointer(i * per), this.type(element))),
    );
    return dtype === "bool" ? this.#isNot0(loaded) : loaded;
  }

  /** What a lane of the dtype is kept as. */
  elementOf(dtype: DType): DType {
    return elementOf(dtype);
  }

  /** Whether a vector of so many lanes as there are is one of the dtype. */
  isWhole(dtype: DType): boolean {
    return this.#per(elementOf(dtype)) === this.width;
  }

  /** The vector in which every other `distance` lanes of two take turns. */
  exchange(dtype: DType, a: string, b: string, distance: number, upper: boolean): string {
    const element = elementOf(dtype);
    return this.#help(`${upper ? "upper" : "lower"}_${distance}`, element, element, [a, b]);
  }

  /** The first lanes, which lie side by side; the others are 0. Of a whole vector. */
  loadFirst(pointer: string, dtype: DType, count: number): string {
    const element = elementOf(dtype);
    return count === this.width
      ? only(this.load(() => pointer, dtype))
      : this.#help(`take_${count}`, element, element, [pointer]);
  }

  /** Every other element from the first on, of a whole vector: of two vectors, which end where the last element does. */
  loadEveryOther(pointer: (i: number) => string, dtype: DType): Text {
    const parts = [0, this.width - 1].map((i) => only(this.load(() => pointer(i), dtype)));
    const element = elementOf(dtype);
    return { element, parts: [this.#help("every2", element, element, parts)] };
  }

  /** What stores the first lanes of a whole vector. */
  storeFirst(pointer: string, vector: string, dtype: DType, count: number): string {
    const element = elementOf(dtype);
    return count === this.width
      ? `${this.#vectors.place(pointer, this.type(element))} = ${vector};`
      : `${this.#help(`give_${count}`, element, element, [pointer, vector])};`;
  }

  /** What stores lanes side by side. */
  store(pointer: (i: number) => string, value: Text, dtype: DType, mask?: Text): string[] {
    const element = dtype === "bool" ? "u8" : elementOf(dtype);
    const per = this.#per(element);
    const kept =
      dtype === "bool" ? this.#fromMask(this.mask(this.repeat(value, dtype), "u8"), "u8") : this.repeat(value, dtype);
    const masks = mask && this.mask(mask, element).parts;
    return kept.parts.map((part, i) =>
      masks
        ? `${this.#help("put", element, element, [pointer(i * per), part, masks[i] as string])};`
        : `${this.#vectors.place(pointer(i * per), this.type(element))} = ${part};`,
    );
  }

  #isNot0({ element, parts }: Text): Text {
    const mask = maskOf(element as DType);
    const zero = this.#help("allOf", element as DType, element as DType, ["0"]);
    return {
      element: mask,
      parts: parts.map((part) => this.#vectors.reinterpret(this.type(mask), `(${part} != ${zero})`)),
    };
  }

  /** A mask of an integer's width as that integer: 0 or 1. */
  #fromMask({ parts }: Text, element: DType): Text {
    const type = this.type(element);
    return { element, parts: parts.map((part) => `(-${this.#vectors.reinterpret(type, part)})`) };
  }

  /** A cast to or from a bool, or of numbers. */
  cast(value: Text, from: DType, to: DType): Text {
    if (from === to) return value;
    if (from === "bool") {
      if (isFloat(to) && to !== "f32" && to !== "f64") return this.cast(this.cast(value, from, "f32"), "f32", to);
      const mask = this.mask(value, to);
      if (!isFloat(to)) return this.#fromMask(mask, to);
      const [yes, no] = ["1", "0"].map((text) => this.#help("allOf", to, to, [text])) as [string, string];
      return this.#each(to, [mask], ([m]) => this.#help("select", to, mask.element as DType, [m as string, yes, no]));
    }
    if (to === "bool")
      return from === "f16" || from === "bf16"
        ? this.cast(this.cast(value, from, "f32"), "f32", to)
        : this.#isNot0(value);
    return this.#converted(value, elementOf(to), to, from, "cast");
  }

  bitcast(value: Text, from: DType, to: DType): Text {
    if (from === "bool" || to === "bool") return this.cast(value, from, to);
    if (dtypes[from].bytes !== dtypes[to].bytes)
      return fail(`there is no rule for bitcast from ${from} to ${to}`, "its size would change");
    const type = this.type(elementOf(to));
    return { element: elementOf(to), parts: value.parts.map((part) => this.#vectors.reinterpret(type, part)) };
  }

  #each(element: DType, args: readonly Text[], part: (args: readonly string[]) => string): Text {
    return this.#made(element, (i) => part(args.map(({ parts }) => parts[i] as string)));
  }

  select(
    condition: Text,
    a: Text,
    b: Text,
    dtype: DType,
    choose: (c: string, yes: string, no: string) => string,
  ): Text {
    if (dtype === "bool") {
      const element = [condition, a, b].find((x) => x.element !== undefined)?.element as DType;
      const [m, yes, no] = [condition, a, b].map((x) => this.mask(x, element)) as [Text, Text, Text];
      return this.#each(element, [m, yes, no], ([c, x, y]) => `((${c} & ${x}) | (~${c} & ${y}))`);
    }
    const element = elementOf(dtype);
    const [yes, no] = [this.repeat(a, dtype), this.repeat(b, dtype)];
    if (condition.element === undefined)
      return this.#each(element, [yes, no], ([x, y]) => choose(only(condition), x as string, y as string));
    const m = this.mask(condition, element);
    return this.#each(element, [m, yes, no], (args) => this.#help("select", element, m.element as DType, args));
  }

  /** An element-wise op of lanes. */
  op(n: Node, args: readonly Text[]): Text {
    const from = dtypeOf(n.src.at(-1) ?? n);
    if (n.op === "cast") return this.cast(args[0] as Text, from, dtypeOf(n));
    if (n.op === "bitcast") return this.bitcast(args[0] as Text, from, dtypeOf(n));
    if (from === "bool") return this.#ofMasks(n.op, args);
    if (n.op === "max" || n.op === "min") return this.#limited(n, args) ?? this.apply(n.op, from, args);
    if (n.op === "idiv" || n.op === "mod") return this.#byPower(n, args) ?? this.apply(n.op, from, args);
    return this.apply(n.op, from, args);
  }

  /** Division of integers by a power of two. */
  #byPower(n: Node, [x]: readonly Text[]): Text | undefined {
    const dtype = dtypeOf(n);
    const by = n.src[1];
    if (x?.element === undefined || by?.op !== "const" || isFloat(dtype)) return undefined;
    const digits = Math.log2(by.attr.value);
    if (!Number.isInteger(digits) || digits > 30) return undefined;
    const [operator, k] = n.op === "mod" ? ["&", by.attr.value - 1] : [">>", digits];
    return this.#each(x.element, [x], ([a]) => `(${a} ${operator} ${k})`);
  }

  /** The greater or lesser of lanes and a number that is no NaN; adding +0 puts a zero right that −0 has won against. */
  #limited(n: Node, args: readonly Text[]): Text | undefined {
    const dtype = dtypeOf(n);
    const limit = n.src.findLast((s) => s.op === "const" && !(n.op === "min" && Object.is(s.attr.value, -0)));
    if (limit?.op !== "const" || Number.isNaN(limit.attr.value) || !isFloat(dtype)) return undefined;
    const [x, c] = (n.src[1] === limit ? args : args.toReversed()) as [Text, Text];
    const chosen = this.apply(n.op === "max" ? "maxNumber" : "minNumber", dtype, [x, c]);
    return n.op === "max" && Object.is(limit.attr.value, 0) ? this.apply("add", dtype, [chosen, c]) : chosen;
  }

  /** An op of lanes of numbers. */
  apply(op: VectorOp, dtype: DType, args: readonly Text[]): Text {
    const element = elementOf(dtype);
    const all = args.map((x) => this.repeat(x, dtype));
    const operator = operators[op as Op];
    if (op === "lt" || op === "eq") {
      const mask = maskOf(dtype);
      const type = this.type(mask);
      return this.#each(mask, all, (x) => this.#vectors.reinterpret(type, `(${x.join(` ${operator} `)})`));
    }
    if (operator !== undefined && all.length === 2)
      return this.#each(element, all, (x) => `(${x.join(` ${operator} `)})`);
    if (op === "neg") return this.#each(element, all, ([x]) => `(-${x})`);
    if (op === "not") return this.#each(element, all, ([x]) => `(~${x})`);
    return this.#each(element, all, (x) => this.#help(op, dtype, dtype, x));
  }

  #ofMasks(op: Op, args: readonly Text[]): Text {
    const element = args.find((x) => x.element !== undefined)?.element as DType;
    const all = args.map((x) => this.mask(x, element));
    return this.#each(element, all, ([a, b]) => {
      switch (op) {
        case "not":
          return `(~${a})`;
        case "and":
        case "min":
          return `(${a} & ${b})`;
        case "or":
        case "max":
          return `(${a} | ${b})`;
        case "xor":
          return `(${a} ^ ${b})`;
        case "lt":
          return `(~${a} & ${b})`;
        case "eq":
          return `(~(${a} ^ ${b}))`;
        default:
          return fail(`there is no rule for ${op} on bool`, "expand it before code is generated");
      }
    });
  }

  /** Combines two partial results of an accumulate. */
  combine(kind: ReduceKind, dtype: DType, a: Text, b: Text): Text {
    if (dtype === "bool") return this.#ofMasks(combiner[kind], [a, b]);
    return this.apply(combiner[kind], dtype, [a, b]);
  }

  /** All lanes of a value as one scalar: while there are several, each takes the one half of them further to itself. */
  total(kind: ReduceKind, dtype: DType, value: Text, name: (text: Text) => Text): string {
    let left = value;
    while (left.parts.length > 1) {
      const half = left.parts.length / 2;
      const pair = (from: number): Text => ({ ...left, parts: left.parts.slice(from, from + half) });
      const [a, b] = [pair(0), pair(half)];
      const combined = a.parts.map((x, i) =>
        only(this.#one(kind, dtype, { ...a, parts: [x] }, { ...b, parts: [b.parts[i] as string] })),
      );
      left = name({ ...left, parts: combined });
    }
    const element = left.element as DType;
    const total = this.#help(`total_${kind}`, dtype, element, [only(left)]);
    return dtype === "bool" ? `(${total} != 0)` : total;
  }

  /** `combine` of single parts. */
  #one(kind: ReduceKind, dtype: DType, a: Text, b: Text): Text {
    const width = this.#per(a.element as DType);
    return new Lanes(width, this.#vectors, this.#needs).combine(kind, dtype, a, b);
  }
}
