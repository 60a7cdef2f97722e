/** Movement ops of the interpreter: strides and offsets for one copy. */
import { isFloat, roundTo } from "../ir/dtype.ts";
import type { DType } from "../ir/dtype.ts";
import { copyStrided, stridesOf, view } from "./layout.ts";
import { newData, sizeOfDims, type Value } from "./value.ts";

export function expand(x: Value, dims: readonly number[]): Value {
  const strides = stridesOf(x.dims);
  return view(x, dims, { offset: 0, strides: strides.map((s, a) => (x.dims[a] === 1 ? 0 : s)) });
}

export function slice(x: Value, start: readonly number[], size: readonly number[], step: readonly number[]): Value {
  const strides = stridesOf(x.dims);
  const offset = start.reduce((sum, s, a) => sum + s * (strides[a] as number), 0);
  return view(x, size, { offset, strides: strides.map((s, a) => s * (step[a] as number)) });
}

export function flip(x: Value, axes: readonly number[]): Value {
  const strides = stridesOf(x.dims);
  const offset = axes.reduce((sum, a) => sum + ((x.dims[a] as number) - 1) * (strides[a] as number), 0);
  return view(x, x.dims, { offset, strides: strides.map((s, a) => (axes.includes(a) ? -s : s)) });
}

export function pad(x: Value, low: readonly number[], dims: readonly number[], fill: number, exact: boolean): Value {
  const data = filled(x.dtype, sizeOfDims(dims), fill, exact);
  const strides = stridesOf(dims);
  const offset = low.reduce((sum, n, a) => sum + n * (strides[a] as number), 0);
  copyStrided(x.dims, data, { offset, strides }, x.data, { offset: 0, strides: stridesOf(x.dims) });
  return { dtype: x.dtype, dims, data };
}

export function concat(parts: readonly Value[], axis: number, dims: readonly number[]): Value {
  const dtype = (parts[0] as Value).dtype;
  const data = newData(dtype, sizeOfDims(dims));
  const strides = stridesOf(dims);
  let offset = 0;
  for (const part of parts) {
    copyStrided(part.dims, data, { offset, strides }, part.data, { offset: 0, strides: stridesOf(part.dims) });
    offset += (part.dims[axis] as number) * (strides[axis] as number);
  }
  return { dtype, dims, data };
}

/** `count` elements of one value. */
export function filled(dtype: DType, count: number, value: number, exact: boolean): Float64Array | BigInt64Array {
  const data = newData(dtype, count);
  if (data instanceof BigInt64Array) return data.fill(BigInt(roundTo(dtype, value)));
  return data.fill(exact && isFloat(dtype) ? value : roundTo(dtype, value));
}

export function iota(dims: readonly number[], axis: number): Float64Array {
  const data = new Float64Array(sizeOfDims(dims));
  const stride = stridesOf(dims)[axis] as number;
  for (let i = 0; i < data.length; i++) data[i] = Math.floor(i / stride) % (dims[axis] as number);
  return data;
}
