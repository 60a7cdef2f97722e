/** Element types. A dtype is a name; everything else about it is in this table, so storage size, arithmetic and the
 *  block-quantised layouts are declared in one place. Storage bytes come only from `block` and `bytes`. */

export interface DTypeInfo {
  readonly kind: "float" | "int" | "uint" | "bool" | "quantised";
  /** Bits of one element; the average for a block dtype. */
  readonly bits: number;
  /** Elements that are stored together. 1 but for quantised dtypes. */
  readonly block: number;
  /** Bytes of one block. */
  readonly bytes: number;
  /** `full`: arithmetic. `block`: kept and dequantised. */
  readonly role: "full" | "block";
  /** The dtype in which kernels compute where it is a wider one: each result is rounded to the narrow dtype. */
  readonly carrier?: "i32" | "f32";
}

const entry = (kind: DTypeInfo["kind"], bits: number, carrier?: DTypeInfo["carrier"]): DTypeInfo => ({
  kind,
  bits,
  block: 1,
  bytes: bits / 8,
  role: "full",
  ...(carrier ? { carrier } : {}),
});
const blocks = (bits: number, block: number, bytes: number): DTypeInfo => ({
  kind: "quantised",
  bits,
  block,
  bytes,
  role: "block",
});

/** Every dtype, with what is known of it: one row each. */
export const dtypes = {
  bool: entry("bool", 8),
  u8: entry("uint", 8, "i32"),
  i8: entry("int", 8, "i32"),
  u16: entry("uint", 16, "i32"),
  i16: entry("int", 16, "i32"),
  u32: entry("uint", 32),
  i32: entry("int", 32),
  i64: entry("int", 64),
  f16: entry("float", 16, "f32"),
  bf16: entry("float", 16, "f32"),
  f32: entry("float", 32),
  f64: entry("float", 64),
  /** 32 weights: an f16 scale and 32 signed bytes (ggml's q8_0). */
  q8_0: blocks(8.5, 32, 34),
  /** 32 weights: an f16 scale and 16 bytes of nibbles, value = scale · (q − 8) (ggml's q4_0). */
  q4_0: blocks(4.5, 32, 18),
  /** 256 weights in 8 parts: f16 d and m, 8 scales and 8 minima of 6 bits, 128 bytes of nibbles, value = d · scale · q − m · minimum
   *  (ggml's q4_K). */
  q4_k: blocks(4.5, 256, 144),
} as const satisfies Record<string, DTypeInfo>;

/** The name of an element's type. */
export type DType = keyof typeof dtypes;
/** Formats of weights that are quantised in blocks. */
export type BlockDType = "q8_0" | "q4_0" | "q4_k";
export type FloatDType = "f16" | "bf16" | "f32" | "f64";

export const isDType = (name: string): name is DType => Object.hasOwn(dtypes, name);
/** Whether a dtype has fractions. */
export const isFloat = (dtype: DType): dtype is FloatDType => dtypes[dtype].kind === "float";
export const isBlock = (dtype: DType): dtype is BlockDType => dtypes[dtype].role === "block";
export const isInteger = (dtype: DType): boolean => dtypes[dtype].kind === "int" || dtypes[dtype].kind === "uint";
/** Whether arithmetic is defined on it, rather than only keeping, copying and casting. */
export const isFull = (dtype: DType): boolean => dtypes[dtype].role === "full";
/** The dtype in which kernels compute: f32 for f16 and bf16, i32 for integers of 8 and 16 bits, else the dtype itself. */
export function carrierOf(dtype: DType): DType {
  const { carrier }: DTypeInfo = dtypes[dtype];
  return carrier ?? dtype;
}

/** Bytes that `count` elements take; `count` is a multiple of the dtype's block. */
export function byteSize(dtype: DType, count: number): number {
  const { block, bytes } = dtypes[dtype];
  return Math.ceil(count / block) * bytes;
}

/** The dims of a tensor of blocks with bytes in the place of the elements of its last axis. */
export function byteDims(dtype: DType, dims: readonly number[]): number[] {
  const { block, bytes } = dtypes[dtype];
  return [...dims.slice(0, -1), ((dims.at(-1) ?? 1) / block) * bytes];
}

/** Round a double to the nearest value of the dtype, ties to even, as a conversion of the hardware does; integers wrap. */
export function roundTo(dtype: DType, x: number): number {
  switch (dtype) {
    case "f64":
      return x;
    case "f32":
      return Math.fround(x);
    case "f16":
      return fromF16(toF16(x));
    case "bf16":
      return fromBf16(toBf16(x));
    case "i32":
      return x | 0;
    case "u32":
      return x >>> 0;
    case "u8":
      return x & 0xff;
    case "u16":
      return x & 0xffff;
    case "i8":
      return (x << 24) >> 24;
    case "i16":
      return (x << 16) >> 16;
    case "bool":
      return x !== 0 ? 1 : 0;
    case "i64":
      // As `x | 0` has it for what is no number.
      return Number.isFinite(x) ? Math.trunc(x) : 0;
    case "q8_0":
    case "q4_0":
    case "q4_k":
      return x;
    default:
      return dtype satisfies never;
  }
}

const f32Scratch = new Float32Array(1);
const u32Scratch = new Uint32Array(f32Scratch.buffer);

/** The 16 bits of bfloat16 nearest to x, ties to even. x is rounded once: through f32 the double rounding is avoided by
 *  setting a sticky bit. */
export function toBf16(x: number): number {
  f32Scratch[0] = x;
  let bits = u32Scratch[0] as number;
  if (Number.isNaN(x)) return 0x7fc0;
  const back = f32Scratch[0];
  if (back !== x && Number.isFinite(back)) bits = sticky(bits, x, back);
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** f32 bits of `back`, moved so that rounding them again rounds x itself (round to odd, Boldo & Melquiond 2008). */
function sticky(bits: number, x: number, back: number): number {
  const truncated = Math.abs(back) > Math.abs(x) ? bits - 1 : bits;
  return truncated | 1;
}

/** The number that 16 bits of bfloat16 stand for. */
export function fromBf16(bits: number): number {
  u32Scratch[0] = bits << 16;
  return f32Scratch[0] as number;
}

/** The 16 bits of IEEE half precision nearest to x, ties to even, with subnormals, overflow to infinity. */
export function toF16(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const a = Math.abs(x);
  if (Number.isNaN(x)) return 0x7e00;
  if (a >= 65520) return sign | 0x7c00;
  if (a < 2 ** -14) return sign | roundEven(a * 2 ** 24);
  const exponent = Math.floor(Math.log2(a));
  const e = a < 2 ** exponent ? exponent - 1 : a >= 2 ** (exponent + 1) ? exponent + 1 : exponent;
  const mantissa = roundEven((a / 2 ** e - 1) * 1024);
  return sign | (((e + 15) << 10) + mantissa);
}

/** The number that 16 bits of IEEE's binary16 stand for. */
export function fromF16(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const rest = bits & 0x7fff;
  if (rest < 0x400) {
    const small = rest * 2 ** -24;
    return sign < 0 ? -small : small;
  }
  // The exponent moves from a bias of 15 to one of 127; that of infinities and NaN is all ones in both.
  u32Scratch[0] = sign | ((rest << 13) + (rest < 0x7c00 ? 112 : 224) * 2 ** 23);
  return f32Scratch[0] as number;
}

/** The nearest integer, ties to even; a negative number that rounds to 0 gives −0. */
export function roundEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest < 0.5 || (rest === 0.5 && floor % 2 === 0)) return floor;
  return floor === -1 ? -0 : floor + 1;
}

/** The largest finite value of a float dtype. */
export const largest: { readonly [D in DType]?: number } = {
  f16: 65504,
  bf16: 2 ** 127 * (2 - 2 ** -7),
  f32: 2 ** 127 * (2 - 2 ** -23),
  f64: Number.MAX_VALUE,
};
