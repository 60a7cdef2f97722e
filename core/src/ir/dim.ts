/** Dimensions: a number, or a polynomial with integer coefficients in named symbols (`batch`, `batch*time`, `time+1`).
 *  A symbol has bounds, which memory planning uses, and a multiple, which removes tails. Equal dims have equal text. */
import { ArgumentError, ShapeError } from "../errors.ts";

export interface Sym {
  readonly name: string;
  /** Inclusive bounds, in elements. */
  readonly lo: number;
  readonly hi: number;
  /** Every value is a multiple of this. */
  readonly multiple: number;
}

interface Term {
  readonly coefficient: number;
  /** Sorted by name; a power repeats its symbol. */
  readonly factors: readonly Sym[];
}

export interface Poly {
  readonly terms: readonly Term[];
  /** The canonical spelling: two dims are equal if and only if their texts are. */
  readonly text: string;
}

export type Dim = number | Poly;

/** A new symbolic dimension.
 *  @throws ArgumentError if the bounds are not `0 <= lo <= hi` or the name is not an identifier */
export function symbol(
  name: string,
  { lo = 1, hi = 2 ** 31 - 1, multiple = 1 }: Partial<Omit<Sym, "name">> = {},
): Poly {
  if (!/^[A-Za-z_]\w*$/.test(name))
    throw new ArgumentError(`symbol: expected a name like "batch", got ${JSON.stringify(name)}`);
  if (
    !(
      Number.isSafeInteger(lo) &&
      Number.isSafeInteger(hi) &&
      lo >= 0 &&
      lo <= hi &&
      Number.isSafeInteger(multiple) &&
      multiple >= 1
    )
  )
    throw new ArgumentError(
      `symbol ${name}: expected 0 <= lo <= hi and multiple >= 1, got lo ${lo}, hi ${hi}, multiple ${multiple}`,
    );
  return poly([{ coefficient: 1, factors: [{ name, lo, hi, multiple }] }]) as Poly;
}

const factorText = (factors: readonly Sym[]) => factors.map((s) => s.name).join("*");

function poly(terms: readonly Term[]): Dim {
  const byFactors = new Map<string, Term>();
  for (const term of terms) {
    const key = factorText(term.factors);
    const same = byFactors.get(key);
    byFactors.set(key, { coefficient: term.coefficient + (same?.coefficient ?? 0), factors: term.factors });
  }
  const kept = [...byFactors].filter(([, t]) => t.coefficient !== 0).sort(([a], [b]) => (a < b ? 1 : a > b ? -1 : 0));
  const constant =
    kept.length === 0 ? 0 : kept.length === 1 && kept[0]?.[0] === "" ? kept[0][1].coefficient : undefined;
  if (constant !== undefined) return constant;
  const text = kept
    .map(([key, { coefficient }]) =>
      key === "" ? `${coefficient}` : coefficient === 1 ? key : `${coefficient}*${key}`,
    )
    .join("+")
    .replaceAll("+-", "-");
  return Object.freeze({ terms: kept.map(([, t]) => t), text });
}

const terms = (d: Dim): readonly Term[] => (typeof d === "number" ? [{ coefficient: d, factors: [] }] : d.terms);

export const dimText = (d: Dim): string => (typeof d === "number" ? String(d) : d.text);
export const dimEqual = (a: Dim, b: Dim): boolean => a === b || dimText(a) === dimText(b);
export const dimsEqual = (a: readonly Dim[], b: readonly Dim[]): boolean =>
  a.length === b.length && a.every((d, i) => dimEqual(d, b[i] as Dim));

export const addDim = (a: Dim, b: Dim): Dim =>
  typeof a === "number" && typeof b === "number" ? a + b : poly([...terms(a), ...terms(b)]);

export const subDim = (a: Dim, b: Dim): Dim => addDim(a, mulDim(b, -1));

export function mulDim(a: Dim, b: Dim): Dim {
  if (typeof a === "number" && typeof b === "number") return a * b;
  return poly(
    terms(a).flatMap((x) =>
      terms(b).map((y) => ({
        coefficient: x.coefficient * y.coefficient,
        factors: [...x.factors, ...y.factors].sort((p, q) => (p.name < q.name ? -1 : 1)),
      })),
    ),
  );
}

/** a / b where that is exact for every value of the symbols, else undefined. */
export function divDim(a: Dim, b: Dim): Dim | undefined {
  if (typeof a === "number" && typeof b === "number")
    return b !== 0 && a % b === 0 ? a / b : a === 0 && b === 0 ? 0 : undefined;
  if (dimEqual(a, b)) return 1;
  const divisor = terms(b);
  const only = divisor[0];
  if (divisor.length !== 1 || !only) return undefined;
  const quotient: Term[] = [];
  for (const term of terms(a)) {
    const factors = [...term.factors];
    for (const s of only.factors) {
      const at = factors.findIndex((f) => f.name === s.name);
      if (at < 0) return undefined;
      factors.splice(at, 1);
    }
    if (term.coefficient % only.coefficient !== 0) return undefined;
    quotient.push({ coefficient: term.coefficient / only.coefficient, factors });
  }
  return poly(quotient);
}

/** The number of elements. */
export const sizeOf = (dims: readonly Dim[]): Dim => dims.reduce<Dim>(mulDim, 1);

/** The symbols of a dim, each once. */
export function symbolsOf(dims: readonly Dim[]): readonly Sym[] {
  const found = new Map<string, Sym>();
  for (const d of dims) for (const t of terms(d)) for (const s of t.factors) found.set(s.name, s);
  return [...found.values()];
}

/** The value of a dim once its symbols are known.
 *  @throws ShapeError if a symbol has no value, or one outside its bounds */
export function bindDim(d: Dim, values: ReadonlyMap<string, number>): number {
  if (typeof d === "number") return d;
  return d.terms.reduce(
    (sum, t) => sum + t.factors.reduce((product, s) => product * bound(s, values), t.coefficient),
    0,
  );
}

function bound(s: Sym, values: ReadonlyMap<string, number>): number {
  const value = values.get(s.name);
  if (value === undefined || value < s.lo || value > s.hi || value % s.multiple !== 0)
    throw new ShapeError(
      `dimension ${s.name}: expected a multiple of ${s.multiple} in ${s.lo}..${s.hi}, got ${value ?? "no value"}`,
    );
  return value;
}

/** A dim that must be a plain number here, as kernels and buffers need.
 *  @throws ShapeError naming the symbol otherwise */
export function known(d: Dim, where: string): number {
  if (typeof d === "number") return d;
  throw new ShapeError(`${where}: the dimension ${d.text} has no value yet`, {
    hint: "bind its symbols before compiling",
  });
}
