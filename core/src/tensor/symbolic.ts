/** Symbolic dimensions of a jitted function: one trace serves every size that they allow. A call binds the symbols to its sizes;
 *  the trace is specialised to those by substitution, compiled, and kept for the next call of the same sizes. */
import { ShapeError } from "../errors.ts";
import { bindFn } from "../ir/bind.ts";
import { type Dim, dimText } from "../ir/dim.ts";
import { bindDim } from "../ir/symbol.ts";
import type { Fn } from "../ir/fn.ts";
import { type TensorType, tensorType, typeText } from "../ir/type.ts";

/** For tensors of a call by their place (a position, or a key of a single record argument): their dims, null for one that is taken as
 *  it comes. */
export type SymbolicDims = Readonly<Record<string, readonly (Dim | null)[]>>;

/** Sizes by the name of their symbol. */
export interface Symbols {
  /** The type by which a tensor of a call is traced; finds values of symbols on the way.
   *  @throws ShapeError for dims that do not fit */
  typeAt(path: string, type: TensorType, values: Map<string, number>): TensorType;
  /** The trace with these values of its symbols. */
  bind(fn: Fn, values: ReadonlyMap<string, number>): Fn;
}

/** Dims of a jitted function's arguments that are traced as symbols: an option of `jit`. Sizes are checked against the symbols' bounds
 *  and multiples at each call.
 *
 *  @throws (from a call) ShapeError for a size outside of them, or two sizes for one symbol
 *  @example
 *  const time = symbol("time", { lo: 1, hi: 512 });
 *  const total = jit((x: Tensor) => x.square().sum(), { symbols: symbolic({ 0: [time] }) });
 *  for (const n of [3, 5]) console.log(await total(ones([n])).item());   // 3 and 5, traced once */
export function symbolic(dims: SymbolicDims): Symbols {
  const byPath = new Map(
    Object.entries(dims).map(([place, d]) => [/^\d/.test(place) ? place : `0.${place}`, d] as const),
  );
  return {
    typeAt(path, type, values) {
      const wanted = byPath.get(path);
      return wanted ? symbolicType(path, wanted, type, values) : type;
    },
    bind: bindFn,
  };
}

function symbolicType(
  path: string,
  wanted: readonly (Dim | null)[],
  type: TensorType,
  values: Map<string, number>,
): TensorType {
  const fault = (what: string): ShapeError =>
    new ShapeError(`jit: argument ${path} is ${typeText(type)}, ${what}`, {
      hint: `its dims are declared as [${wanted.map((d) => (d === null ? "_" : dimText(d))).join(", ")}]`,
    });
  if (wanted.length !== type.dims.length) throw fault(`expected ${wanted.length} axes`);
  const sizes = type.dims.map((d) => {
    if (typeof d !== "number") throw fault("whose dims are symbolic themselves");
    return d;
  });
  wanted.forEach((d, a) => {
    const only = typeof d === "object" && d?.terms.length === 1 && d.terms[0]?.factors.length === 1 ? d.terms[0] : null;
    const name = only?.factors[0]?.name;
    if (only && name !== undefined && !values.has(name)) values.set(name, (sizes[a] as number) / only.coefficient);
  });
  wanted.forEach((d, a) => {
    if (d !== null && bindDim(d, values) !== sizes[a])
      throw fault(`expected axis ${a} to be ${dimText(d)}${typeof d === "number" ? "" : ` = ${bindDim(d, values)}`}`);
  });
  return tensorType(
    type.dtype,
    wanted.map((d, a) => d ?? (sizes[a] as number)),
  );
}
