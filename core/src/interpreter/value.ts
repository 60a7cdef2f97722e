/** Tensors as the interpreter holds them: doubles (BigInts for i64) in row-major order, whatever the dtype; and the way
 *  between them and the bytes that devices and files keep. */
import { ArgumentError, DTypeError } from "../errors.ts";
import {
  type BlockDType,
  byteSize,
  type DType,
  dtypes,
  fromBf16,
  fromF16,
  isFloat,
  roundTo,
  toBf16,
  toF16,
} from "../ir/dtype.ts";

export type Data = Float64Array | BigInt64Array;

/** An array of the interpreter's with its type. */
export interface Value {
  readonly dtype: DType;
  readonly dims: readonly number[];
  /** Row-major; BigInt64Array for i64, Float64Array for every other dtype (bool is 0 or 1). */
  readonly data: Data;
  /** Of a block-quantised dtype: what it is kept as. Its data are then what that decodes to. */
  readonly bytes?: Uint8Array;
}

export const sizeOfDims = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1);

export const newData = (dtype: DType, count: number): Data =>
  dtype === "i64" ? new BigInt64Array(count) : new Float64Array(count);

/** The data of a value whose dtype is not i64. */
export function doubles(v: Value): Float64Array {
  if (v.data instanceof Float64Array) return v.data;
  throw new DTypeError(`expected values in doubles, got ${v.dtype}`);
}

/** The data of an i64 value. */
export function bigints(v: Value): BigInt64Array {
  if (v.data instanceof BigInt64Array) return v.data;
  throw new DTypeError(`expected values in BigInts, got ${v.dtype}`);
}

/** A value from JavaScript numbers, each rounded to the dtype.
 *  @throws ArgumentError if the count is not what `dims` need */
export function valueOf(dtype: DType, dims: readonly number[], elements: ArrayLike<number | bigint>): Value {
  if (elements.length !== sizeOfDims(dims))
    throw new ArgumentError(
      `value of [${dims.join(", ")}]: expected ${sizeOfDims(dims)} elements, got ${elements.length}`,
    );
  if (dtype === "i64")
    return {
      dtype,
      dims,
      data: BigInt64Array.from(elements as ArrayLike<bigint>, (x: number | bigint) =>
        typeof x === "bigint" ? x : BigInt(roundTo(dtype, x)),
      ),
    };
  return { dtype, dims, data: roundAll(dtype, Float64Array.from(elements as ArrayLike<number>, Number), false) };
}

/** Rounds every element to the dtype, in place. `exact` leaves the floats as they are. */
export function roundAll(dtype: DType, data: Float64Array, exact: boolean): Float64Array {
  const n = data.length;
  if (dtype === "f64" || (exact && isFloat(dtype))) return data;
  if (dtype === "f32") for (let i = 0; i < n; i++) data[i] = Math.fround(data[i] as number);
  else if (dtype === "i32") for (let i = 0; i < n; i++) data[i] = (data[i] as number) | 0;
  else if (dtype === "u32") for (let i = 0; i < n; i++) data[i] = (data[i] as number) >>> 0;
  else for (let i = 0; i < n; i++) data[i] = roundTo(dtype, data[i] as number);
  return data;
}

/** The value that `bytes` hold; a block-quantised one is dequantised.
 *  @throws ArgumentError if there are fewer bytes than `dims` need */
export function decode(dtype: DType, bytes: Uint8Array, dims: readonly number[]): Value {
  const count = sizeOfDims(dims);
  const size = byteSize(dtype, count);
  if (bytes.byteLength < size)
    throw new ArgumentError(`decode ${dtype}[${dims.join(", ")}]: expected ${size} bytes, got ${bytes.byteLength}`);
  const { buffer } = bytes.slice(0, size);
  switch (dtype) {
    case "bool":
      return { dtype, dims, data: Float64Array.from(new Uint8Array(buffer), (x) => (x === 0 ? 0 : 1)) };
    case "u8":
      return { dtype, dims, data: new Float64Array(new Uint8Array(buffer)) };
    case "i8":
      return { dtype, dims, data: new Float64Array(new Int8Array(buffer)) };
    case "u16":
      return { dtype, dims, data: new Float64Array(new Uint16Array(buffer)) };
    case "i16":
      return { dtype, dims, data: new Float64Array(new Int16Array(buffer)) };
    case "i32":
      return { dtype, dims, data: new Float64Array(new Int32Array(buffer)) };
    case "u32":
      return { dtype, dims, data: new Float64Array(new Uint32Array(buffer)) };
    case "i64":
      return { dtype, dims, data: new BigInt64Array(buffer) };
    case "f16":
      return { dtype, dims, data: Float64Array.from(new Uint16Array(buffer), fromF16) };
    case "bf16":
      return { dtype, dims, data: Float64Array.from(new Uint16Array(buffer), fromBf16) };
    case "f32":
      return { dtype, dims, data: new Float64Array(new Float32Array(buffer)) };
    case "f64":
      return { dtype, dims, data: new Float64Array(buffer) };
    case "q8_0":
    case "q4_0":
    case "q4_k": {
      const held = new Uint8Array(buffer);
      return { dtype, dims, data: dequantise(dtype, new DataView(buffer), count), bytes: held };
    }
    default:
      return dtype satisfies never;
  }
}

/** ggml's layouts, element by element: see the dtypes. Of each 32 bytes of nibbles (16 in q4_0) the low ones come first. */
function dequantise(dtype: BlockDType, view: DataView, count: number): Float64Array {
  const { block, bytes } = dtypes[dtype];
  const half = (at: number): number => fromF16(view.getUint16(at, true));
  const nibble = (at: number, k: number, run: number): number =>
    (view.getUint8(at + Math.floor(k / (2 * run)) * run + (k % run)) >> (k % (2 * run) < run ? 0 : 4)) & 15;
  return Float64Array.from({ length: count }, (_, i) => {
    const at = Math.floor(i / block) * bytes;
    const k = i % block;
    if (dtype === "q8_0") return half(at) * view.getInt8(at + 2 + k);
    if (dtype === "q4_0") return half(at) * (nibble(at + 2, k, 16) - 8);
    const j = k >> 5;
    const six = (first: number): number => {
      const whole = (at4: number): number => view.getUint8(at + 4 + first + at4);
      if (j < 4) return whole(j) & 63;
      const low = (view.getUint8(at + 12 + j - 4) >> (first === 0 ? 0 : 4)) & 15;
      return low | ((whole(j - 4) >> 2) & 0x30);
    };
    return half(at) * six(0) * nibble(at + 16, k, 32) - half(at + 2) * six(4);
  });
}

/** The bytes of a value, little-endian, each element rounded to the dtype.
 *  @throws DTypeError for a block-quantised dtype */
export function encode({ dtype, data, bytes }: Value): Uint8Array<ArrayBuffer> {
  if (data instanceof BigInt64Array) return new Uint8Array(data.slice().buffer);
  switch (dtype) {
    case "bool":
      return Uint8Array.from(data, (x) => (x !== 0 ? 1 : 0));
    case "u8":
      return new Uint8Array(data);
    case "i8":
      return new Uint8Array(new Int8Array(data).buffer);
    case "u16":
      return new Uint8Array(new Uint16Array(data).buffer);
    case "i16":
      return new Uint8Array(new Int16Array(data).buffer);
    case "i32":
      return new Uint8Array(new Int32Array(data).buffer);
    case "u32":
      return new Uint8Array(new Uint32Array(data).buffer);
    case "f16":
      return new Uint8Array(Uint16Array.from(data, toF16).buffer);
    case "bf16":
      return new Uint8Array(Uint16Array.from(data, toBf16).buffer);
    case "f32":
      return new Uint8Array(new Float32Array(data).buffer);
    case "f64":
      return new Uint8Array(data.slice().buffer);
    case "i64":
      throw new DTypeError("encode: expected a BigInt64Array for i64, got a Float64Array");
    case "q8_0":
    case "q4_0":
    case "q4_k":
      if (bytes) return new Uint8Array(bytes);
      throw new DTypeError(`encode: ${dtype} is not made from its values; keep its bytes as they came`);
    default:
      return dtype satisfies never;
  }
}
