/** Running totals along an axis. `affine` is the first-order recurrence y = a·y′ + x, whose y′ is the element before; with it the
 *  derivatives of all kinds, its own among them, are running totals again.
 *
 *    y₀ = x₀,  yᵢ = yᵢ₋₁ ∘ xᵢ        ∘ one of sum, prod, max, min;   yᵢ = aᵢ·yᵢ₋₁ + xᵢ
 */
import { DTypeError, ShapeError } from "../errors.ts";
import { doubles, newData, roundAll, sizeOfDims, type Value } from "../interpreter/value.ts";
import { whole } from "../interpreter/whole.ts";
import { reduceKinds } from "../ir/attr-kinds.ts";
import { isFloat } from "../ir/dtype.ts";
import { type Attrs, type CumulateKind, dimsOf, dtypeOf, type Node, type NodeOf, type ReduceKind } from "../ir/node.ts";
import { tensorType, typeText } from "../ir/type.ts";
import type { LowerNests } from "../kernel/lower.ts";
import { makeNest, type NestNode } from "../kernel/nests.ts";
import { add, build, constantLike, eq, max, min, mul, not, or, pad, slice, where, zerosLike } from "./build.ts";
import { type RareFamily, requireKinds, requireSameDims } from "./define.ts";
import { addIndex, constIndex, flattenIndex, knownDims, mulIndex, subIndex } from "./indexing.ts";
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

/** Elements of a block of a long row. */
const BLOCK = 512;

/** A short row: the first element, then the others in turn. A long one goes in blocks, whose totals are made first, so that blocks
 *  run side by side and rounding errors grow with their length and number rather than with the product of the two. Which
 *  it is depends on the length alone. */
const lowerNests: LowerNests<"cumulate"> = (y, { out, newRange, newScratch, valueAt }) => {
  const { kind, axis, reverse } = y.attr;
  const [x, a] = y.src as [Node, Node | undefined];
  const dims = knownDims(y);
  const n = dims[axis] as number;
  const block = kind === "affine" || n <= 4 * BLOCK ? Math.max(n, 1) : BLOCK;
  const whole = Math.floor(n / block);
  const nests: NestNode[] = [];
  const one = constIndex(1);

  /** A nest over all rows, so many blocks and so many steps in each. */
  const over = (
    blocks: number,
    steps: number,
    make: (place: (position: Node) => Node[], b: Node, step: Node) => Node,
  ): void => {
    const rows = dims.map((d, i) => (i === axis ? constIndex(0) : newRange(d, "loop")));
    const [b, step] = [newRange(blocks, "loop"), newRange(steps, "loop")];
    const place = (position: Node): Node[] =>
      rows.with(axis, reverse ? subIndex(constIndex(n - 1), position) : position);
    const order = [...rows.slice(0, axis), b, step, ...rows.slice(axis + 1)];
    nests.push(
      makeNest(
        [make(place, b, step)],
        order.flatMap((r) => (r.op === "range" ? [r.attr.id] : [])),
      ),
    );
  };
  const store = (at: readonly Node[], value: Node): Node => build("store", [out, flattenIndex(at, dims), value], {});
  const load = (at: readonly Node[]): Node => build("load", [out, flattenIndex(at, dims)], {});
  const next = (running: Node, at: readonly Node[]): Node =>
    combine(kind, running, valueAt(x, at), a && valueAt(a, at));

  const totalDims = dims.with(axis, whole);
  const total = newScratch(
    dtypeOf(x),
    totalDims.reduce((c, d) => c * d, 1),
  );
  const totalAt = (at: readonly Node[], b: Node): Node => flattenIndex(at.with(axis, b), totalDims);
  const totalOf = (at: readonly Node[], b: Node): Node => build("load", [total, totalAt(at, b)], {});
  if (whole > 1) {
    over(whole, 1, (place, b) => {
      const k = newRange(block, "reduce");
      const value = valueAt(x, place(addIndex(mulIndex(b, block), k)));
      const sum = build("accumulate", [value, k], { kind: kind as ReduceKind });
      return build("store", [total, totalAt(place(b), b), sum], {});
    });
    over(1, whole - 1, (place, _, step) => {
      const b = addIndex(step, one);
      const running = combine(kind, totalOf(place(b), step), totalOf(place(b), b), undefined);
      return build("store", [total, totalAt(place(b), b), running], {});
    });
  }
  over(1, Math.min(n, 1), (place) => store(place(constIndex(0)), valueAt(x, place(constIndex(0)))));
  const heads = Math.ceil(n / block) - 1;
  if (heads > 0)
    over(heads, 1, (place, b) => {
      const at = place(mulIndex(addIndex(b, one), block));
      return store(at, next(totalOf(at, b), at));
    });
  const steps = (first: number, blocks: number, length: number): void => {
    if (blocks === 0 || length <= 1) return;
    over(blocks, length - 1, (place, b, step) => {
      const position = addIndex(mulIndex(addIndex(b, constIndex(first)), block), step);
      const at = place(addIndex(position, one));
      return store(at, next(load(place(position)), at));
    });
  };
  steps(0, whole, block);
  steps(whole, n > whole * block ? 1 : 0, n - whole * block);
  return nests;
};

function evaluate(
  { attr: { kind, axis, reverse } }: { attr: Attrs["cumulate"] },
  src: readonly Value[],
  exact: boolean,
): Value {
  const [{ dtype, dims, data: x }] = src as [Value];
  const steps = stepsOf(dims, axis, reverse);
  if (x instanceof BigInt64Array) {
    const [v, a] = src.map((s) => s.data as BigInt64Array) as [BigInt64Array, BigInt64Array];
    const data = new BigInt64Array(v.length);
    for (const [i, before] of steps) {
      const [y, own] = [data[before] as bigint, v[i] as bigint];
      if (before < 0) data[i] = own;
      else if (kind === "affine") data[i] = BigInt.asIntN(64, (a[i] as bigint) * y + own);
      else data[i] = BigInt.asIntN(64, whole[wholeOps[kind]](y, own));
    }
    return { dtype, dims, data };
  }
  const [v, a] = src.map(doubles) as [Float64Array, Float64Array];
  const data = newData(dtype, v.length) as Float64Array;
  const times = isFloat(dtype) ? (p: number, q: number) => p * q : Math.imul;
  for (const [i, before] of steps) {
    const [y, own] = [data[before] as number, v[i] as number];
    if (before < 0) data[i] = own;
    else if (kind === "sum") data[i] = y + own;
    else if (kind === "prod") data[i] = times(y, own);
    else if (kind === "affine") data[i] = times(a[i] as number, y) + own;
    else data[i] = kind === "max" ? Math.max(y, own) : Math.min(y, own);
  }
  return { dtype, dims, data: roundAll(dtype, data, exact) };
}

const wholeOps = { sum: "add", prod: "mul", max: "max", min: "min" } as const satisfies Record<ReduceKind, string>;

/** Each element in the order of the walk, with the one before it; −1 where it is the first of its row. */
function* stepsOf(dims: readonly number[], axis: number, reverse: boolean): Generator<readonly [number, number]> {
  const n = dims[axis] as number;
  const stride = sizeOfDims(dims.slice(axis + 1));
  for (let row = 0; row < sizeOfDims(dims) / Math.max(n, 1); row++) {
    const base = Math.floor(row / stride) * stride * n + (row % stride);
    const at = (k: number): number => base + (reverse ? n - 1 - k : k) * stride;
    for (let k = 0; k < n; k++) yield [at(k), k === 0 ? -1 : at(k - 1)];
  }
}

export const cumulative = {
  cumulate: {
    role: "reduce",
    fusion: "sink",
    rereads: "values",
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
