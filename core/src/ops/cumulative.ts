/** Running totals along an axis. `affine` is the first-order recurrence y = a·y′ + x, whose y′ is the element before; with it the
 *  derivatives of all kinds, its own among them, are running totals again.
 *
 *    y₀ = x₀,  yᵢ = yᵢ₋₁ ∘ xᵢ        ∘ one of sum, prod, max, min;   yᵢ = aᵢ·yᵢ₋₁ + xᵢ
 */
import { DTypeError, ShapeError } from "../errors.ts";
import { doubles, newData, roundAll, sizeOfDims, type Value } from "../interpreter/value.ts";
import { reduceKinds } from "../ir/attr-kinds.ts";
import { isFloat } from "../ir/dtype.ts";
import { type Attrs, type CumulateKind, dimsOf, dtypeOf, type Node, type NodeOf } from "../ir/node.ts";
import { tensorType, typeText } from "../ir/type.ts";
import type { LowerNests } from "../kernel/lower.ts";
import { makeNest } from "../kernel/nests.ts";
import { add, build, constantLike, eq, max, min, mul, not, or, pad, slice, where, zerosLike } from "./build.ts";
import { type RareFamily, requireKinds, requireSameDims } from "./define.ts";
import { addIndex, constIndex, flattenIndex, knownDims, mulIndex } from "./indexing.ts";
import { load } from "./table.ts";

/** `x` alone, or `x` and the factors `a` of an affine recurrence (the first of each row is not used). */
export const cumulate = (kind: CumulateKind, src: readonly Node[], axis: number, reverse = false): Node =>
  build("cumulate", src, { kind, axis, reverse });

/** Element i is element i − 1 of x in the direction of the walk, and `first` where there is none. */
export function previous(x: Node, axis: number, reverse: boolean, first: number): Node {
  const dims = dimsOf(x);
  const only = (amount: number): number[] => dims.map((_, a) => (a === axis ? amount : 0));
  const size = knownDims(x).map((d, a) => (a === axis ? Math.max(d - 1, 0) : d));
  if (knownDims(x)[axis] === 0) return x;
  const kept = slice(x, only(reverse ? 1 : 0), size);
  return pad(kept, only(reverse ? 0 : 1), only(reverse ? 1 : 0), first);
}

function vjp(g: Node, y: NodeOf<"cumulate">): (Node | null)[] {
  const { kind, axis, reverse } = y.attr;
  const [x, a] = y.src as [Node, Node | undefined];
  if (!isFloat(dtypeOf(x))) return [null, null];
  const back = (...src: readonly Node[]): Node => cumulate(src.length === 1 ? "sum" : "affine", src, axis, !reverse);
  // The factor by which the step after this one takes it in.
  const after = (factors: Node): Node => previous(factors, axis, !reverse, 0);
  const before = (first: number): Node => previous(y, axis, reverse, first);
  switch (kind) {
    case "sum":
      return [back(g)];
    case "prod":
      return [mul(before(1), back(g, after(x)))];
    case "affine": {
      const s = back(g, after(a as Node));
      return [s, mul(s, before(0))];
    }
    case "max":
    case "min": {
      // The last of equal ones is the one that goes on, as is the last NaN.
      const taken = or(eq(x, y), not(eq(x, x)));
      const goesOn = where(taken, zerosLike(x), constantLike(x, 1));
      return [where(taken, back(g, after(goesOn)), zerosLike(g))];
    }
    default:
      return kind satisfies never;
  }
}

const combine = (kind: CumulateKind, y: Node, x: Node, a: Node | undefined): Node => {
  if (kind === "affine") return add(mul(a as Node, y), x);
  return { sum: add, prod: mul, max, min }[kind](y, x);
};

/** The first elements, then the others in turn. */
const lowerNests: LowerNests<"cumulate"> = (y, { out, newRange, valueAt }) => {
  const { kind, axis, reverse } = y.attr;
  const [x, a] = y.src as [Node, Node | undefined];
  const dims = knownDims(y);
  const n = dims[axis] as number;
  const along = (step: Node): Node => (reverse ? addIndex(constIndex(n - 1), mulIndex(step, -1)) : step);
  const ranges = (steps: number): Node[] => dims.map((d, i) => newRange(i === axis ? steps : d, "loop"));
  const ids = (at: readonly Node[]): number[] => at.flatMap((r) => (r.op === "range" ? [r.attr.id] : []));
  const place = (at: readonly Node[], step: Node): Node[] => at.map((r, i) => (i === axis ? along(step) : r));

  const first = ranges(1);
  const start = place(first, constIndex(0));
  const head = build("store", [out, flattenIndex(start, dims), valueAt(x, start)], {});
  if (n <= 1) return [makeNest([head], ids(first))];
  const rest = ranges(n - 1);
  const step = rest[axis] as Node;
  const [from, to] = [place(rest, step), place(rest, addIndex(step, constIndex(1)))];
  const running = build("load", [out, flattenIndex(from, dims)], {});
  const value = combine(kind, running, valueAt(x, to), a && valueAt(a, to));
  return [
    makeNest([head], ids(first)),
    makeNest([build("store", [out, flattenIndex(to, dims), value], {})], ids(rest)),
  ];
};

function evaluate(
  { attr: { kind, axis, reverse } }: { attr: Attrs["cumulate"] },
  src: readonly Value[],
  exact: boolean,
) {
  const [x] = src as [Value];
  const data = newData(x.dtype, x.data.length) as Float64Array;
  const [values, factors] = src.map(doubles) as [Float64Array, Float64Array | undefined];
  const n = x.dims[axis] as number;
  const stride = sizeOfDims(x.dims.slice(axis + 1));
  const whole = !isFloat(x.dtype);
  const times = whole ? Math.imul : (p: number, q: number) => p * q;
  const next = (y: number, i: number): number => {
    const v = values[i] as number;
    if (kind === "sum") return y + v;
    if (kind === "prod") return times(y, v);
    if (kind === "affine") return times((factors as Float64Array)[i] as number, y) + v;
    return kind === "max" ? Math.max(y, v) : Math.min(y, v);
  };
  for (let row = 0; row < data.length / Math.max(n, 1); row++) {
    const base = Math.floor(row / stride) * stride * n + (row % stride);
    let y = 0;
    for (let k = 0; k < n; k++) {
      const i = base + (reverse ? n - 1 - k : k) * stride;
      y = k === 0 ? (values[i] as number) : next(y, i);
      data[i] = y;
    }
  }
  return { dtype: x.dtype, dims: x.dims, data: roundAll(x.dtype, data, exact) };
}

export const cumulative = {
  cumulate: {
    role: "reduce",
    fusion: "sink",
    rereads: true,
    arity: [1, 2],
    flops: 1,
    attrs: { kind: [...reduceKinds, "affine"], axis: "count", reverse: "boolean" },
    infer: (src, { kind, axis }) => {
      const [x] = src as [Node];
      const logical = kind === "max" || kind === "min" ? ["bool"] : [];
      const dtype = requireKinds("cumulate", src, ["float", "int", "uint", ...logical]);
      const dims = requireSameDims("cumulate", src);
      if (axis >= dims.length) throw new ShapeError(`cumulate ${kind}: axis ${axis} is outside of ${typeText(x.type)}`);
      if ((src.length === 2) !== (kind === "affine"))
        throw new DTypeError(`cumulate ${kind}: expected ${kind === "affine" ? 2 : 1} sources, got ${src.length}`);
      return tensorType(dtype, dims);
    },
    vjp,
    batch: (y, { x, full, has }) => {
      const src = has.length === 1 ? [x()] : [full(0), full(1)];
      return cumulate(y.attr.kind, src, y.attr.axis + 1, y.attr.reverse);
    },
    lowerNests,
    evaluate,
  },
} satisfies RareFamily<"cumulate">;

load(cumulative);
