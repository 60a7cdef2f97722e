/** Symbols, and the arithmetic of dims that are polynomials in them. It is loaded by what makes a symbol, so that a bundle
 *  without any does not hold it. */
import { ArgumentError, ShapeError } from "../errors.ts";
import { addPolynomials, type Dim, dimEqual, type Poly, type Sym, type Term } from "./dim.ts";

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

const add = (a: Dim, b: Dim): Dim => poly([...terms(a), ...terms(b)]);

const mul = (a: Dim, b: Dim): Dim =>
  poly(
    terms(a).flatMap((x) =>
      terms(b).map((y) => ({
        coefficient: x.coefficient * y.coefficient,
        factors: [...x.factors, ...y.factors].sort((p, q) => (p.name < q.name ? -1 : 1)),
      })),
    ),
  );

function div(a: Dim, b: Dim): Dim | undefined {
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

addPolynomials({ add, mul, div });

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
