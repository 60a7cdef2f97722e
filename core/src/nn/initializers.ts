/** How parameters begin: functions of a key, dims and dtype. A linear map's weight is `[out, in]`. */
import type { DType } from "../ir/dtype.ts";
import { cast } from "../tensor/arithmetic.ts";
import { fromBytes, ofByte } from "../tensor/create.ts";
import { encode } from "../tensor/dtypes.ts";
import * as random from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** First values of a parameter, from a key. */
export type Initializer = (key: random.Key, dims: readonly number[], dtype: DType) => Tensor;

/** Every element the same. Each parameter gets memory of its own, so that all may be donated. */
export const constant =
  (value: number): Initializer =>
  (_, dims, dtype) =>
    filled(dims, value, dtype);

/** A constant with memory of its own, where equal lazy constants would share theirs. */
export function filled(dims: readonly number[], value: number, dtype: DType): Tensor {
  const element = encode(dtype, [value]);
  const [byte = 0] = element;
  if (element.every((other) => other === byte)) return ofByte(dtype, dims, byte);
  return fromBytes(
    dtype,
    dims,
    repeated(
      element,
      dims.reduce((a, b) => a * b, 1),
    ),
  );
}

/** The bytes of one element so many times. */
function repeated(element: Uint8Array, count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(element.length * count);
  if (bytes.length === 0) return bytes;
  bytes.set(element);
  for (let done = element.length; done < bytes.length; done *= 2) bytes.copyWithin(done, 0, done);
  return bytes;
}

/** All 0. */
export const zeros: Initializer = constant(0);
/** All 1. */
export const ones: Initializer = constant(1);

/** Normal with mean 0 and this standard deviation. */
export const normal =
  ({ mean = 0, std = 1 }: { readonly mean?: number; readonly std?: number } = {}): Initializer =>
  (key, dims, dtype) =>
    cast(random.normal(key, dims, { mean, std }), dtype);

/** Uniform between −bound and bound. */
export const uniform =
  ({ low = 0, high = 1 }: { readonly low?: number; readonly high?: number } = {}): Initializer =>
  (key, dims, dtype) =>
    cast(random.uniform(key, dims, { low, high }), dtype);

const fans = (dims: readonly number[]): { readonly fanIn: number; readonly fanOut: number } => {
  const [out = 1, inputs = 1, ...window] = dims;
  const area = window.reduce((a, b) => a * b, 1);
  return { fanIn: Math.max(1, inputs * area), fanOut: Math.max(1, out * area) };
};

/** Uniform within ±1/√fanIn, as PyTorch's Linear begins. */
export const fanInUniform: Initializer = (key, dims, dtype) => {
  const bound = 1 / Math.sqrt(fans(dims).fanIn);
  return uniform({ low: -bound, high: bound })(key, dims, dtype);
};

/** Normal with variance gain² · 2 / (fanIn + fanOut).
 *  @see Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. 16 */
export const xavierNormal =
  ({ gain = 1 }: { readonly gain?: number } = {}): Initializer =>
  (key, dims, dtype) => {
    const { fanIn, fanOut } = fans(dims);
    return normal({ std: gain * Math.sqrt(2 / (fanIn + fanOut)) })(key, dims, dtype);
  };

/** Normal with variance 2 / fanIn, for layers before a ReLU.
 *  @see He et al. 2015, arXiv:1502.01852, eq. 10 */
export const heNormal: Initializer = (key, dims, dtype) =>
  normal({ std: Math.sqrt(2 / fans(dims).fanIn) })(key, dims, dtype);
