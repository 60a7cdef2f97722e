/** Scatters that multiply, or keep the greatest or least. Derivatives share among ties as a reduction's do; those of a product are
 *  made by division, with a count of zeros: right where elements are 0, of any order where none is. */
import { doubles, roundAll, sizeOfDims, type Value } from "../interpreter/value.ts";
import { whole } from "../interpreter/whole.ts";
import { carryScatter } from "../autodiff/batch.ts";
import { isFloat } from "../ir/dtype.ts";
import { type Attrs, dtypeOf, type Node, type NodeOf } from "../ir/node.ts";
import { scatterNests } from "../kernel/lower.ts";
import { build, cast, constantLike, div, eq, gather, max, min, mul, scatter, where, zerosLike } from "./build.ts";
import { scatteredType } from "./contraction.ts";
import { type RareFamily, requireKinds } from "./define.ts";
import { load } from "./table.ts";

type Kind = Attrs["scatterReduce"]["kind"];

export const scatterReduce = (kind: Kind, x: Node, indices: Node, updates: Node, axis: number): Node =>
  build("scatterReduce", [x, indices, updates], { axis, kind });

function vjp(g: Node, y: NodeOf<"scatterReduce">): (Node | null)[] {
  const [x, indices, updates] = y.src as [Node, Node, Node];
  const { axis, kind } = y.attr;
  const dtype = dtypeOf(x);
  if (!isFloat(dtype)) return [null, null, null];
  const at = (v: Node): Node => gather(v, indices, axis);
  /** How many of x and the updates of each place a condition holds for. */
  const count = (inX: Node, inUpdates: Node): Node =>
    scatter(cast(inX, dtype), indices, cast(inUpdates, dtype), axis, "add");
  const is = (v: Node, value: number): Node => eq(v, constantLike(v, value));
  const pick = (condition: Node, v: Node): Node => where(condition, v, zerosLike(v));

  if (kind !== "prod") {
    const [hitX, hitUpdates] = [eq(x, y), eq(updates, at(y))];
    const each = count(hitX, hitUpdates);
    const share = div(g, max(each, constantLike(each, 1)));
    return [pick(hitX, share), null, pick(hitUpdates, at(share))];
  }
  const ones = (v: Node): Node => where(is(v, 0), constantLike(v, 1), v);
  const product = scatterReduce("prod", ones(x), indices, ones(updates), axis);
  const zeros = count(is(x, 0), is(updates, 0));
  // The product of all others: without v, or without the one zero that v is.
  const others = (v: Node, p: Node, z: Node): Node =>
    where(is(v, 0), pick(is(z, 1), p), pick(is(z, 0), div(p, ones(v))));
  const places = at(zeros);
  // Where an index is outside, nothing was multiplied: what is read there is NaN.
  const inside = eq(places, places);
  return [mul(g, others(x, product, zeros)), null, pick(inside, mul(at(g), others(updates, at(product), places)))];
}

const combine = {
  prod: { op: "mul", build: mul },
  max: { op: "max", build: max },
  min: { op: "min", build: min },
} as const;

/** v^n by squaring. */
function power(v: Node, n: number): Node {
  if (n === 1) return v;
  const half = power(v, Math.floor(n / 2));
  return n % 2 === 0 ? mul(half, half) : mul(mul(half, half), v);
}

function evaluate({ attr: { axis, kind } }: NodeOf<"scatterReduce">, src: readonly Value[], exact: boolean): Value {
  const [x, indices, updates] = src as [Value, Value, Value];
  const places = [...placesOf(x.dims, axis, doubles(indices))];
  if (x.data instanceof BigInt64Array && updates.data instanceof BigInt64Array) {
    const data = x.data.slice();
    const { op } = combine[kind];
    places.forEach((to, u) => {
      if (to >= 0)
        data[to] = BigInt.asIntN(64, whole[op](data[to] as bigint, (updates.data as BigInt64Array)[u] as bigint));
    });
    return { dtype: x.dtype, dims: x.dims, data };
  }
  const [data, from] = [doubles(x).slice(), doubles(updates)];
  const times = isFloat(x.dtype) ? (a: number, b: number) => a * b : Math.imul;
  const apply = kind === "prod" ? times : kind === "max" ? Math.max : Math.min;
  places.forEach((to, u) => {
    if (to >= 0) data[to] = apply(data[to] as number, from[u] as number);
  });
  return { dtype: x.dtype, dims: x.dims, data: roundAll(x.dtype, data, exact) };
}

/** For each update, in order, the element that it goes to; −1 where its index is outside. */
function* placesOf(dims: readonly number[], axis: number, at: Float64Array): Generator<number> {
  const [before, n, after] = [dims.slice(0, axis), dims.slice(axis, axis + 1), dims.slice(axis + 1)].map(
    sizeOfDims,
  ) as [number, number, number];
  for (let p = 0; p < before; p++)
    for (const index of at)
      for (let q = 0; q < after; q++) yield index < 0 || index >= n ? -1 : (p * n + index) * after + q;
}

export const scattering = {
  scatterReduce: {
    role: "indexed",
    fusion: "sink",
    arity: 3,
    flops: 1,
    attrs: { axis: "count", kind: ["prod", "max", "min"] },
    infer: (src, { axis, kind }) => {
      const [x, indices, updates] = src as [Node, Node, Node];
      const logical = kind === "prod" ? [] : ["bool"];
      requireKinds("scatterReduce", [x, updates], ["float", "int", "uint", ...logical]);
      return scatteredType("scatterReduce", [x, indices, updates], axis);
    },
    vjp,
    batch: (y, carried) =>
      carryScatter(y.attr.axis, carried, (x, i, u, axis) => scatterReduce(y.attr.kind, x, i, u, axis)),
    lowerNests: (y, tools) =>
      scatterNests(y, tools, (running, update, repeats) =>
        combine[y.attr.kind].build(running(), y.attr.kind === "prod" ? power(update, repeats) : update),
      ),
    evaluate,
  },
} satisfies RareFamily<"scatterReduce">;

load(scattering);
