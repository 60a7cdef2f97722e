/** Values in and out of JavaScript: which typed array holds a dtype, and how two dtypes meet.
 *
 *  Promotion, the whole of it:
 *  - a JavaScript number takes the tensor's dtype, but beside an integer tensor a number with a fraction makes both f32,
 *    and beside a bool tensor a number makes both i32 or f32; a boolean takes the tensor's dtype;
 *  - bool meets T: T.  An integer meets a float: the float.  Two integers meet in the narrowest that holds both;
 *  - of two floats the wider; f16 meets bf16: f32. */
import { DTypeError } from "../errors.ts";
import { type DType, dtypes, fromF16, isDType, isFloat, isInteger, roundTo, toBf16, toF16 } from "../ir/dtype.ts";

/** The arrays that values come in and go out as. */
export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array;

/** JavaScript's array of half floats, in engines that have it. It is read as numbers. */
export interface HalfArray extends ArrayLike<number>, ArrayBufferView {
  readonly [Symbol.toStringTag]: "Float16Array";
}

const isHalfArray = (values: ArrayLike<unknown>): boolean =>
  ArrayBuffer.isView(values) && (values as unknown as HalfArray)[Symbol.toStringTag] === "Float16Array";

const floatRank: Readonly<Partial<Record<DType, number>>> = { f16: 1, bf16: 1, f32: 2, f64: 3 };

/** @throws DTypeError where there is no common dtype */
export function promote(a: DType, b: DType): DType {
  if (a === b) return a;
  if (a === "bool") return b;
  if (b === "bool") return a;
  if (isFloat(a) && isFloat(b))
    return floatRank[a] === floatRank[b] ? "f32" : (floatRank[a] ?? 0) > (floatRank[b] ?? 0) ? a : b;
  if (isFloat(a) && isInteger(b)) return a;
  if (isFloat(b) && isInteger(a)) return b;
  if (isInteger(a) && isInteger(b)) return common(a, b);
  throw new DTypeError(`${a} and ${b} have no common dtype`, {
    hint: "blocks of weights are not computed with: dequantize them first",
  });
}

/** The narrowest integer that holds the values of both. */
function common(a: DType, b: DType): DType {
  const [wide, narrow] = dtypes[a].bits >= dtypes[b].bits ? [a, b] : [b, a];
  if (
    dtypes[wide].kind === dtypes[narrow].kind ||
    (dtypes[wide].kind === "int" && dtypes[wide].bits > dtypes[narrow].bits)
  )
    return wide;
  return dtypes[wide].bits === 8 ? "i16" : dtypes[wide].bits === 16 ? "i32" : "i64";
}

/** The dtypes in which a tensor and a JavaScript number meet. */
export function promoteNumber(dtype: DType, value: number | boolean): DType {
  if (typeof value === "boolean" || isFloat(dtype)) return dtype;
  if (dtype === "bool") return Number.isInteger(value) ? "i32" : "f32";
  return Number.isInteger(value) ? dtype : "f32";
}

/** The arrays whose elements are values of a dtype. */
const arrays = {
  f32: Float32Array,
  f64: Float64Array,
  i8: Int8Array,
  u8: Uint8Array,
  i16: Int16Array,
  u16: Uint16Array,
  i32: Int32Array,
  u32: Uint32Array,
  i64: BigInt64Array,
} as const satisfies { readonly [D in DType]?: unknown };

type Plain = keyof typeof arrays;

const isPlain = (dtype: DType): dtype is Plain => dtype in arrays;

/** Bytes of these values, each rounded to the dtype; those of the array itself, not copied, where its elements have it.
 *  @throws DTypeError for a block dtype, which only `quantize` makes */
export function encode(dtype: DType, values: ArrayLike<number | bigint | boolean>): Uint8Array<ArrayBuffer> {
  if (isPlain(dtype) && values instanceof arrays[dtype])
    return new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);
  const n = values.length;
  const number = (i: number) => Number(values[i]);
  const fillWith = (array: Exclude<TypedArray, BigInt64Array>, convert: (x: number) => number) => {
    for (let i = 0; i < n; i++) array[i] = convert(number(i));
    return new Uint8Array(array.buffer as ArrayBuffer);
  };
  switch (dtype) {
    case "bool":
      return fillWith(new Uint8Array(n), (x) => (x !== 0 ? 1 : 0));
    case "f16":
      return fillWith(new Uint16Array(n), toF16);
    case "bf16":
      return fillWith(new Uint16Array(n), toBf16);
    case "i64": {
      const out = new BigInt64Array(n);
      for (let i = 0; i < n; i++)
        out[i] = typeof values[i] === "bigint" ? (values[i] as bigint) : BigInt(roundTo(dtype, number(i)));
      return new Uint8Array(out.buffer);
    }
    case "q8_0":
    case "q4_0":
    case "q4_k":
      throw new DTypeError(`${dtype}: blocks are not made from numbers; quantize a float tensor`);
    default:
      return fillWith(new arrays[dtype](n), (x) => x);
  }
}

/** The values behind bytes: f16 and bf16 widened to f32, bool as 0 and 1. The bytes' buffer is taken over, not copied. */
export function decode(dtype: DType, bytes: Uint8Array<ArrayBuffer>): TypedArray {
  const { buffer, byteLength } = bytes;
  if (isPlain(dtype)) return new arrays[dtype](buffer, 0, byteLength / arrays[dtype].BYTES_PER_ELEMENT);
  if (dtype !== "f16" && dtype !== "bf16") return bytes;
  const halves = new Uint16Array(buffer, 0, byteLength / 2);
  const out = new Float32Array(halves.length);
  const bits = new Uint32Array(out.buffer);
  if (dtype === "bf16") for (let i = 0; i < out.length; i++) bits[i] = (halves[i] as number) << 16;
  else for (let i = 0; i < out.length; i++) out[i] = fromF16(halves[i] as number);
  return out;
}

/** The dtype that a JavaScript array of values has by itself. */
export function naturalDType(values: ArrayLike<number | bigint | boolean>): DType {
  for (const [dtype, array] of Object.entries(arrays)) if (values instanceof array) return dtype as Plain;
  if (isHalfArray(values)) return "f16";
  const first = values[0];
  return typeof first === "boolean" ? "bool" : typeof first === "bigint" ? "i64" : "f32";
}

/** @throws DTypeError for a name that is not a dtype */
export function checkDType(dtype: string): DType {
  if (!isDType(dtype))
    throw new DTypeError(`${JSON.stringify(dtype)} is not a dtype`, {
      hint: `known: ${Object.keys(dtypes).join(", ")}`,
    });
  return dtype;
}
