/** Reductions, the general product and indexed access of the interpreter. Sums are taken in doubles and rounded once. */
import { type DType, dtypes, isFloat } from "../ir/dtype.ts";
import type { Attrs, ReduceKind } from "../ir/node.ts";
import { permuted } from "./layout.ts";
import { bigints, doubles, newData, roundAll, sizeOfDims, type Value } from "./value.ts";

const others = (rank: number, ...taken: (readonly number[])[]): number[] =>
  Array.from({ length: rank }, (_, a) => a).filter((a) => !taken.some((t) => t.includes(a)));
const pick = (dims: readonly number[], axes: readonly number[]): number[] => axes.map((a) => dims[a] as number);

/** What a reduction of nothing gives: the value that changes no other. */
export function identityOf(kind: ReduceKind, dtype: DType): number {
  if (kind === "sum") return 0;
  if (kind === "prod") return 1;
  const { kind: family, bits } = dtypes[dtype];
  if (family === "float") return kind === "max" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (family === "bool") return kind === "max" ? 0 : 1;
  if (family === "uint") return kind === "max" ? 0 : 2 ** bits - 1;
  return kind === "max" ? -(2 ** (bits - 1)) : 2 ** (bits - 1) - 1;
}

export function reduce(x: Value, { kind, axes }: Attrs["reduce"], exact: boolean): Value {
  const kept = others(x.dims.length, axes);
  const ordered = permuted(x, [...kept, ...axes]);
  const dims = pick(x.dims, kept);
  const length = sizeOfDims(pick(x.dims, axes));
  if (ordered.data instanceof BigInt64Array)
    return { dtype: x.dtype, dims, data: reduceWhole(kind, ordered.data, sizeOfDims(dims), length) };
  const rows = doubles(ordered);
  const data = new Float64Array(sizeOfDims(dims));
  const whole = !isFloat(x.dtype);
  for (let r = 0; r < data.length; r++) {
    let total = identityOf(kind, x.dtype);
    const end = (r + 1) * length;
    if (kind === "sum") for (let i = r * length; i < end; i++) total += rows[i] as number;
    else if (kind === "max") for (let i = r * length; i < end; i++) total = Math.max(total, rows[i] as number);
    else if (kind === "min") for (let i = r * length; i < end; i++) total = Math.min(total, rows[i] as number);
    else if (whole) for (let i = r * length; i < end; i++) total = Math.imul(total, rows[i] as number);
    else for (let i = r * length; i < end; i++) total *= rows[i] as number;
    data[r] = total;
  }
  return { dtype: x.dtype, dims, data: roundAll(x.dtype, data, exact) };
}

/** Sums and products wrap when they are stored: their last 64 bits do not depend on when. */
function reduceWhole(kind: ReduceKind, rows: BigInt64Array, count: number, length: number): BigInt64Array {
  const data = new BigInt64Array(count);
  const [least, most] = [-(2n ** 63n), 2n ** 63n - 1n];
  const combine = {
    sum: { identity: 0n, of: (a: bigint, b: bigint) => a + b },
    prod: { identity: 1n, of: (a: bigint, b: bigint) => BigInt.asIntN(64, a * b) },
    max: { identity: least, of: (a: bigint, b: bigint) => (a > b ? a : b) },
    min: { identity: most, of: (a: bigint, b: bigint) => (a < b ? a : b) },
  }[kind];
  for (let r = 0; r < count; r++)
    data[r] = rows.subarray(r * length, (r + 1) * length).reduce(combine.of, combine.identity);
  return data;
}

export function dot(a: Value, b: Value, { contract, batch }: Attrs["dot"], exact: boolean): Value {
  const [freeA, freeB] = [others(a.dims.length, contract[0], batch[0]), others(b.dims.length, contract[1], batch[1])];
  const left = permuted(a, [...batch[0], ...freeA, ...contract[0]]);
  const right = permuted(b, [...batch[1], ...freeB, ...contract[1]]);
  const [m, n, k] = [pick(a.dims, freeA), pick(b.dims, freeB), pick(a.dims, contract[0])].map(sizeOfDims) as [
    number,
    number,
    number,
  ];
  const dims = [...pick(a.dims, batch[0]), ...pick(a.dims, freeA), ...pick(b.dims, freeB)];
  const count = sizeOfDims(pick(a.dims, batch[0]));
  if (left.data instanceof BigInt64Array)
    return { dtype: a.dtype, dims, data: wholeProduct(left.data, bigints(right), { count, m, n, k }) };
  const [lhs, rhs] = [doubles(left), doubles(right)];
  const data = new Float64Array(sizeOfDims(dims));
  const product = isFloat(a.dtype) ? floatProduct : integerProduct;
  for (let g = 0; g < count; g++)
    product(
      lhs.subarray(g * m * k, (g + 1) * m * k),
      rhs.subarray(g * n * k, (g + 1) * n * k),
      data.subarray(g * m * n, (g + 1) * m * n),
      m,
      n,
      k,
    );
  return { dtype: a.dtype, dims, data: roundAll(a.dtype, data, exact) };
}

type Product = (a: Float64Array, b: Float64Array, out: Float64Array, m: number, n: number, k: number) => void;

/** a [m, k] times b [n, k], four columns at a time so that four sums run side by side; each is in order of k. */
const floatProduct: Product = (a, b, out, m, n, k) => {
  for (let i = 0; i < m; i++) {
    let j = 0;
    for (; j + 4 <= n; j += 4) {
      let [s0, s1, s2, s3] = [0, 0, 0, 0];
      const row = i * k;
      const column = j * k;
      for (let l = 0; l < k; l++) {
        const x = a[row + l] as number;
        s0 += x * (b[column + l] as number);
        s1 += x * (b[column + k + l] as number);
        s2 += x * (b[column + 2 * k + l] as number);
        s3 += x * (b[column + 3 * k + l] as number);
      }
      out[i * n + j] = s0;
      out[i * n + j + 1] = s1;
      out[i * n + j + 2] = s2;
      out[i * n + j + 3] = s3;
    }
    for (; j < n; j++) {
      let s = 0;
      for (let l = 0; l < k; l++) s += (a[i * k + l] as number) * (b[j * k + l] as number);
      out[i * n + j] = s;
    }
  }
};

const integerProduct: Product = (a, b, out, m, n, k) => {
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let s = 0;
      for (let l = 0; l < k; l++) s = (s + Math.imul(a[i * k + l] as number, b[j * k + l] as number)) | 0;
      out[i * n + j] = s;
    }
};

function wholeProduct(
  a: BigInt64Array,
  b: BigInt64Array,
  { count, m, n, k }: { readonly count: number; readonly m: number; readonly n: number; readonly k: number },
): BigInt64Array {
  const out = new BigInt64Array(count * m * n);
  for (let g = 0; g < count; g++)
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) {
        let s = 0n;
        for (let l = 0; l < k; l++) s += (a[(g * m + i) * k + l] as bigint) * (b[(g * n + j) * k + l] as bigint);
        out[(g * m + i) * n + j] = s;
      }
  return out;
}

/** x as [before, along, after] around an axis. */
function around(x: Value, axis: number): readonly [before: number, along: number, after: number] {
  return [sizeOfDims(x.dims.slice(0, axis)), x.dims[axis] as number, sizeOfDims(x.dims.slice(axis + 1))];
}

export function gather(x: Value, indices: Value, axis: number): Value {
  const [before, along, after] = around(x, axis);
  const at = doubles(indices);
  const dims = [...x.dims.slice(0, axis), ...indices.dims, ...x.dims.slice(axis + 1)];
  const data = newData(x.dtype, sizeOfDims(dims));
  if (data instanceof Float64Array && isFloat(x.dtype)) data.fill(Number.NaN);
  let to = 0;
  for (let p = 0; p < before; p++)
    for (let j = 0; j < at.length; j++, to += after) {
      const index = at[j] as number;
      if (index < 0 || index >= along) continue;
      const from = (p * along + index) * after;
      for (let q = 0; q < after; q++) data[to + q] = x.data[from + q] as never;
    }
  return { dtype: x.dtype, dims, data };
}

export function scatter(
  x: Value,
  indices: Value,
  updates: Value,
  { axis, mode }: Attrs["scatter"],
  exact: boolean,
): Value {
  const [before, along, after] = around(x, axis);
  const at = doubles(indices);
  const data = x.data.slice();
  let from = 0;
  for (let p = 0; p < before; p++)
    for (let j = 0; j < at.length; j++, from += after) {
      const index = at[j] as number;
      if (index < 0 || index >= along) continue;
      const to = (p * along + index) * after;
      if (mode === "set") for (let q = 0; q < after; q++) data[to + q] = updates.data[from + q] as never;
      else
        for (let q = 0; q < after; q++)
          data[to + q] = ((data[to + q] as number) + (updates.data[from + q] as number)) as never;
    }
  return { dtype: x.dtype, dims: x.dims, data: data instanceof Float64Array ? roundAll(x.dtype, data, exact) : data };
}
