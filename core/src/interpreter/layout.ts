/** Copies between strided layouts. Every movement op of the interpreter is one of these with its own strides and offset. */
import { type Data, newData, sizeOfDims, type Value } from "./value.ts";

/** Row-major strides, in elements. */
export function stridesOf(dims: readonly number[]): number[] {
  const strides = dims.map(() => 1);
  for (let a = dims.length - 2; a >= 0; a--) strides[a] = (strides[a + 1] as number) * (dims[a + 1] as number);
  return strides;
}

/** One side of a copy: element [i, j, …] lies at `offset + i·strides[0] + j·strides[1] + …`. */
export interface Layout {
  readonly offset: number;
  readonly strides: readonly number[];
}

/** Copies the elements of `dims` from one layout to the other. A stride of 0 repeats, a negative one goes backwards. */
export function copyStrided(dims: readonly number[], to: Data, out: Layout, from: Data, source: Layout): void {
  if (to instanceof BigInt64Array && from instanceof BigInt64Array)
    walk(dims, out, source, (o, i, count, os, is) => {
      for (let k = 0; k < count; k++) to[o + k * os] = from[i + k * is] as bigint;
    });
  else if (to instanceof Float64Array && from instanceof Float64Array)
    walk(dims, out, source, (o, i, count, os, is) => {
      if (os === 1 && is === 1 && count > 16) to.set(from.subarray(i, i + count), o);
      else for (let k = 0; k < count; k++) to[o + k * os] = from[i + k * is] as number;
    });
}

type Run = (out: number, source: number, count: number, outStride: number, sourceStride: number) => void;

/** Calls `run` for each row of the last axis, counting the other axes as an odometer. */
function walk(dims: readonly number[], out: Layout, source: Layout, run: Run): void {
  if (sizeOfDims(dims) === 0) return;
  const last = dims.length - 1;
  if (last < 0) return run(out.offset, source.offset, 1, 0, 0);
  const at = dims.map(() => 0);
  let o = out.offset;
  let i = source.offset;
  for (;;) {
    run(o, i, dims[last] as number, out.strides[last] as number, source.strides[last] as number);
    let axis = last - 1;
    for (; axis >= 0; axis--) {
      o += out.strides[axis] as number;
      i += source.strides[axis] as number;
      const next = (at[axis] as number) + 1;
      if (next < (dims[axis] as number)) {
        at[axis] = next;
        break;
      }
      o -= (dims[axis] as number) * (out.strides[axis] as number);
      i -= (dims[axis] as number) * (source.strides[axis] as number);
      at[axis] = 0;
    }
    if (axis < 0) return;
  }
}

/** A value of `dims` that reads x through a layout. */
export function view(x: Value, dims: readonly number[], layout: Layout): Value {
  const data = newData(x.dtype, sizeOfDims(dims));
  copyStrided(dims, data, { offset: 0, strides: stridesOf(dims) }, x.data, layout);
  return { dtype: x.dtype, dims, data };
}

export function permuted(x: Value, axes: readonly number[]): Value {
  const dims = axes.map((a) => x.dims[a] as number);
  if (axes.every((a, i) => a === i)) return x;
  const strides = stridesOf(x.dims);
  return view(x, dims, { offset: 0, strides: axes.map((a) => strides[a] as number) });
}
