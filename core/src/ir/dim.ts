/** Dimensions: a number, or a polynomial with integer coefficients in named symbols (`batch`, `batch*time`, `time+1`).
 *  A symbol has bounds, which memory planning uses, and a multiple, which removes tails. Equal dims have equal text. Polynomials are
 *  computed with in `symbol.ts`, which programs load that have any. */
import { ShapeError } from "../errors.ts";

export interface Sym {
  readonly name: string;
  /** Inclusive bounds, in elements. */
  readonly lo: number;
  readonly hi: number;
  /** Every value is a multiple of this. */
  readonly multiple: number;
}

export interface Term {
  readonly coefficient: number;
  /** Sorted by name; a power repeats its symbol. */
  readonly factors: readonly Sym[];
}

export interface Poly {
  readonly terms: readonly Term[];
  /** The canonical spelling: two dims are equal if and only if their texts are. */
  readonly text: string;
}

/** A size: a number, or an expression over symbols that get their numbers when a program is called. */
export type Dim = number | Poly;

export const dimText = (d: Dim): string => (typeof d === "number" ? String(d) : d.text);
export const dimEqual = (a: Dim, b: Dim): boolean => a === b || dimText(a) === dimText(b);
export const dimsEqual = (a: readonly Dim[], b: readonly Dim[]): boolean =>
  a.length === b.length && a.every((d, i) => dimEqual(d, b[i] as Dim));

/** Arithmetic in which at least one dim is a polynomial. */
export interface Polynomials {
  readonly add: (a: Dim, b: Dim) => Dim;
  readonly mul: (a: Dim, b: Dim) => Dim;
  /** a / b where that is exact for every value of the symbols, else undefined. */
  readonly div: (a: Dim, b: Dim) => Dim | undefined;
}

let polynomials: Polynomials | undefined;

export function addPolynomials(arithmetic: Polynomials): void {
  polynomials = arithmetic;
}

/** They are there before the first polynomial is. */
const symbolic = (): Polynomials => polynomials as Polynomials;

export const addDim = (a: Dim, b: Dim): Dim =>
  typeof a === "number" && typeof b === "number" ? a + b : symbolic().add(a, b);

export const subDim = (a: Dim, b: Dim): Dim => addDim(a, mulDim(b, -1));

export const mulDim = (a: Dim, b: Dim): Dim =>
  typeof a === "number" && typeof b === "number" ? a * b : symbolic().mul(a, b);

/** a / b where that is exact for every value of the symbols, else undefined. */
export function divDim(a: Dim, b: Dim): Dim | undefined {
  if (typeof a !== "number" || typeof b !== "number") return symbolic().div(a, b);
  return b !== 0 && a % b === 0 ? a / b : a === 0 && b === 0 ? 0 : undefined;
}

/** The number of elements. */
export const sizeOf = (dims: readonly Dim[]): Dim => dims.reduce<Dim>(mulDim, 1);

/** A dim that must be a plain number here, as kernels and buffers need.
 *  @throws ShapeError naming the symbol otherwise */
export function known(d: Dim, where: string): number {
  if (typeof d === "number") return d;
  throw new ShapeError(`${where}: the dimension ${d.text} has no value yet`, {
    hint: "bind its symbols before compiling",
  });
}
