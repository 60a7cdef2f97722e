/** Kernels as C11: a function for each of their parts,
 *  `void name(char *const *buffers, const double *scalars, int64_t begin, int64_t end)`, the scratch memory behind the buffers; one
 *  whose loop is shared runs the iterations from `begin` to `end`. */
import {
  byteSize,
  type CLike,
  type DType,
  dtypes,
  type FunctionText,
  helperName,
  isFloat,
  type ScalarOp,
} from "sinan/south";
import { parametersOf, types } from "./c-types.ts";
import { withTiles } from "./matrix-tiles.ts";
import { vectorPrelude, vectorsOf } from "./vectors.ts";

/** What the text needs of a compiler: integers wrap, nothing is contracted that the kernel does not contract, and memory has no
 *  type. Nobody reads the flags that floating-point operations leave; NaN, infinities, −0 and denormals are as IEEE 754 has them. */
export const cFlags: readonly string[] = [
  "-std=gnu11",
  "-fwrapv",
  "-fno-strict-aliasing",
  "-ffp-contract=off",
  "-fno-math-errno",
  "-fno-trapping-math",
];

/** Types of what is in memory. */
const cells: Partial<Record<DType, string>> = { ...types, bool: "uint8_t" };

const isShort = (dtype: DType): dtype is "f16" | "bf16" => dtype === "f16" || dtype === "bf16";
const isWhole = (dtype: DType): boolean => !isFloat(dtype) && dtype !== "bool";
const isSigned = (dtype: DType): boolean => dtypes[dtype].kind === "int";

function literal(value: number, dtype: DType): string {
  if (dtype === "bool") return value !== 0 ? "true" : "false";
  if (isShort(dtype)) return `${dtype}_bits(${literal(value, "f64")})`;
  if (isFloat(dtype)) {
    const suffix = dtype === "f32" ? "f" : "";
    if (Number.isNaN(value)) return dtype === "f32" ? "NAN" : "(double)NAN";
    if (!Number.isFinite(value)) return value < 0 ? "-INFINITY" : "INFINITY";
    const text = Object.is(value, -0) ? "-0" : String(value);
    return `${/[.e]/.test(text) ? text : `${text}.0`}${suffix}`;
  }
  if (dtype === "i64") return value <= -(2 ** 63) ? "INT64_MIN" : value >= 2 ** 63 ? "INT64_MAX" : `INT64_C(${value})`;
  if (value <= -(2 ** 31)) return "INT32_MIN";
  return dtype === "u32" ? `${value}u` : String(value);
}

/** The body of an op's helper, of arguments a and b; undefined where C has no rule for it. */
function bodyOf(op: ScalarOp, dtype: DType): string | undefined {
  if (dtype === "f32" || dtype === "f64") return floatBody(op, dtype === "f32" ? "f" : "");
  if (dtype === "bool") return boolBody(op);
  return isWhole(dtype) ? wholeBody(op, dtype) : undefined;
}

/** @param s  the suffix of the C library's functions */
function floatBody(op: ScalarOp, s: "f" | ""): string | undefined {
  switch (op) {
    case "neg":
      return "return -a;";
    case "abs":
      return `return fabs${s}(a);`;
    case "sqrt":
    case "floor":
      return `return ${op}${s}(a);`;
    case "round":
      return `return rint${s}(a);`;
    case "sign":
      return "return a > 0 ? 1 : a < 0 ? -1 : a;";
    case "rsqrt":
      return `return 1 / sqrt${s}(a);`;
    // A NaN wins, and −0 is less than 0.
    case "max":
      return "return a != a ? a : b != b ? b : a > b ? a : b > a ? b : signbit(a) ? b : a;";
    case "maxNumber":
      return "return b > a ? b : a;";
    case "minNumber":
      return "return b < a ? b : a;";
    case "min":
      return "return a != a ? a : b != b ? b : a < b ? a : b < a ? b : signbit(a) ? a : b;";
    // In doubles, as a quotient rounded to float may have been rounded up to an integer.
    case "idiv":
      return "return floor((double)a / (double)b);";
    case "mod":
      return "const double r = fmod(a, b); return r != 0 && (r < 0) != (b < 0) ? r + (double)b : r;";
    case "exp":
    case "log":
    case "sin":
    case "cos":
    case "tanh":
    case "erf":
      return `return ${op}((double)a);`;
    case "pow":
      return "return pow((double)a, (double)b);";
    case "fma":
      return `return fma${s}(a, b, c);`;
    // By two powers of two, of which the second product rounds.
    case "scale":
      return "const int32_t n = b > -254 && b < 254 ? (int32_t)b + 254 : b < 0 ? 0 : 508; const uint32_t p = (uint32_t)(n >> 1) << 23, q = (uint32_t)(n - (n >> 1)) << 23; float x, y; memcpy(&x, &p, 4); memcpy(&y, &q, 4); return a * x * y;";
    case "farSin":
    case "farCos":
      return `return a == 0 ? ${op === "farSin" ? "a" : "1"} : ${op === "farSin" ? "sin" : "cos"}((double)a);`;
    default:
      return undefined;
  }
}

function boolBody(op: ScalarOp): string | undefined {
  switch (op) {
    case "not":
      return "return !a;";
    case "max":
      return "return a | b;";
    case "min":
      return "return a & b;";
    default:
      return undefined;
  }
}

/** Integers: the quotient is rounded down, the remainder has the divisor's sign, division by 0 gives 0, shifts past the last bit
 *  leave nothing or the sign. */
function wholeBody(op: ScalarOp, dtype: DType): string | undefined {
  const signed = isSigned(dtype);
  const { bits } = dtypes[dtype];
  switch (op) {
    case "neg":
      return "return -a;";
    case "abs":
      return signed ? "return a < 0 ? -a : a;" : "return a;";
    case "sign":
      return "return (a > 0) - (a < 0);";
    case "not":
      return "return ~a;";
    case "max":
      return "return a < b ? b : a;";
    case "min":
      return "return b < a ? b : a;";
    case "idiv":
      if (!signed) return "return b == 0 ? 0 : a / b;";
      return "if (b == 0) return 0; if (b == -1) return -a; return a / b - (a % b != 0 && (a ^ b) < 0);";
    case "mod":
      if (!signed) return "return b == 0 ? 0 : a % b;";
      return `if (b == 0 || b == -1) return 0; const ${types[dtype]} r = a % b; return r != 0 && (r ^ b) < 0 ? r + b : r;`;
    case "shl":
      return `return (uint64_t)b < ${bits} ? (uint64_t)a << b : 0;`;
    case "shr":
      return signed
        ? `return a >> ((uint64_t)b < ${bits} ? b : ${bits - 1});`
        : `return (uint64_t)b < ${bits} ? a >> b : 0;`;
    default:
      return undefined;
  }
}

/** Floats to integers towards zero, clamped, NaN to 0; integers wrap; to a 16-bit float once, to nearest even. */
function castBody(from: DType, to: DType): string {
  if (from === to) return "return a;";
  if (isShort(from)) return castOf(`${from}_value(a)`, "f32", to);
  return castOf("a", from, to);
}

function castOf(a: string, from: DType, to: DType): string {
  if (to === "bool") return `return ${a} != 0;`;
  if (isShort(to)) return `return ${to}_bits(${from === "i64" ? `odd_double(${a})` : `(double)${a}`});`;
  if (isFloat(from) && isWhole(to)) {
    const { bits } = dtypes[to];
    const [lo, hi] = isSigned(to) ? [-(2 ** (bits - 1)), 2 ** (bits - 1)] : [0, 2 ** bits];
    const most = `(${types[to]})${isSigned(to) ? `INT${bits}_MAX` : `UINT${bits}_MAX`}`;
    const least = isSigned(to) ? `INT${bits}_MIN` : "0";
    return `const double x = ${a}; return x != x ? 0 : x <= ${literal(lo, "f64")} ? ${least} : x >= ${literal(hi, "f64")} ? ${most} : (${types[to]})x;`;
  }
  return `return (${types[to]})${a};`;
}

function helper(op: ScalarOp, dtype: DType, from: DType): string | undefined {
  const [result, argument] = [types[dtype], types[from]];
  if (result === undefined || argument === undefined) return undefined;
  const define = (params: readonly string[], body: string): string =>
    `static inline ${result} ${helperName(op, dtype, from)}(${params.map((p) => `${argument} ${p}`).join(", ")}) { ${body} }`;
  if (op === "cast") return define(["a"], castBody(from, dtype));
  if (op === "bitcast")
    return byteSize(from, 1) === byteSize(dtype, 1)
      ? define(["a"], `${result} y; memcpy(&y, &a, sizeof y); return y;`)
      : undefined;
  const body = bodyOf(op, dtype);
  const params = parametersOf(op);
  return body === undefined ? undefined : define(params, body);
}

/** 16-bit floats by their bits. A double is rounded once: on the way through float an inexact result gets an odd last place
 *  (Boldo & Melquiond 2008, "Emulation of FMA and correctly rounded sums"). */
const prelude = `#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* How many of the iterations that lie evenly along a length begin before a bound. */
static inline int64_t share_within(int64_t bound, int64_t before, int64_t length, int64_t extent) {
  const int64_t count = bound <= before ? 0 : ((bound - before) * extent + length - 1) / length;
  return count < extent ? count : extent;
}
static inline double odd_double(int64_t a) {
  return (double)(a > -(INT64_C(1) << 53) && a < (INT64_C(1) << 53) ? a : ((a >> 11) | ((a & 2047) != 0)) * 2048);
}
static inline float bf16_value(uint16_t a) {
  const uint32_t bits = (uint32_t)a << 16;
  float y;
  memcpy(&y, &bits, sizeof y);
  return y;
}
static inline uint16_t bf16_bits(double a) {
  if (a != a) return 0x7fc0;
  const float nearest = (float)a;
  uint32_t bits;
  memcpy(&bits, &nearest, sizeof bits);
  if (nearest != a && isfinite(nearest)) bits = (fabs((double)nearest) > fabs(a) ? bits - 1 : bits) | 1;
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
static inline float f16_value(uint16_t a) {
#ifdef __F16C__
  typedef short bits __attribute__((vector_size(16)));
  return __builtin_ia32_vcvtph2ps((bits){ (short)a })[0];
#else
  const uint32_t size = (uint32_t)(a & 0x7fff) << 13;
  uint32_t bits = size + (size >= 31u << 23 ? 224u << 23 : 112u << 23);
  float y;
  if (size < 1u << 23) bits = size | 113u << 23;
  memcpy(&y, &bits, sizeof y);
  if (size < 1u << 23) y -= 0x1p-14f;
  return a & 0x8000 ? -y : y;
#endif
}
static inline uint16_t f16_bits(double a) {
  const uint16_t sign = signbit(a) ? 0x8000 : 0;
  const double size = fabs(a);
  if (a != a) return 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  if (size < 0x1p-14) return sign | (uint16_t)rint(size * 0x1p24);
  int exponent;
  const double fraction = frexp(size, &exponent);
  return sign | (uint16_t)((exponent + 14) * 1024 + (int)rint((fraction * 2 - 1) * 1024));
}`;

function fn({ name, buffers, scratch, scalars, body }: FunctionText): string {
  const pointer = (name: string, dtype: DType, place: number, offset: number): string =>
    `${cells[dtype]} *${name} = (${cells[dtype]} *)${offset === 0 ? `buffers[${place}]` : `(buffers[${place}] + ${offset})`};`;
  const declared = [
    ...buffers.map((b) => pointer(b.name, b.dtype, b.place, 0)),
    ...scratch.map((t) => pointer(t.name, t.dtype, t.buffer, t.offset)),
    ...scalars.map(
      (s) =>
        `const ${types[s.dtype]} ${s.name} = ${isShort(s.dtype) ? `${s.dtype}_bits(scalars[${s.place}])` : `scalars[${s.place}]`};`,
    ),
  ].map((line) => `  ${line}`);
  const header = `void ${name}(char *const *buffers, const double *scalars, int64_t begin, int64_t end)`;
  return `${header} {\n${[...declared, ...withTiles(body)].join("\n")}\n}`;
}

/** C11 as GCC and Clang take it, with `cFlags`. */
export const c: CLike = {
  types,
  literal,
  load: (buffer, index, dtype) => (dtype === "bool" ? `(${buffer}[${index}] != 0)` : `${buffer}[${index}]`),
  store: (buffer, index, value) => `${buffer}[${index}] = ${value};`,
  select: (condition, yes, no) => `(${condition} ? ${yes} : ${no})`,
  constant: (type, name, value) => `const ${type} ${name} = ${value};`,
  variable: (type, name, value) => `${type} ${name} = ${value};`,
  loop: (index, extent, begin = "0") => `for (int64_t ${index} = ${begin}; ${index} < ${extent}; ${index}++)`,
  // Of rows far apart that are read once, lines would drive each other out of the caches' sets.
  prefetch: (pointer, to = "read") =>
    `__builtin_prefetch(${pointer}${{ read: "", once: ", 0, 0", written: ", 1" }[to]});`,
  opaque: (pointer) => `__asm__("" : "+r"(${pointer}));`,
  kept: (type, name, value) => `${type} ${name} = ${value}; SINAN_KEPT(${name});`,
  // Clang does so by itself.
  unrolled: (loop, extent) => `_Pragma("GCC unroll ${extent}") ${loop}`,
  index: (name) => `(int32_t)${name}`,
  copy: (to, from, count, dtype) => `memcpy(${to}, ${from}, ${count * byteSize(dtype, 1)});`,
  share: {
    begin: "begin",
    end: "end",
    within: (bound, before, length, extent) => `share_within(${bound}, ${before}, ${length}, ${extent})`,
  },
  helper,
  fn,
  prelude: `${prelude}\n${vectorPrelude}`,
  pointer: (dtype, name, value) => `${cells[dtype]} *${name} = ${value};`,
};

/** C with vectors of registers of so many bytes. */
export const cWithVectors = (bytes: number): CLike => ({ ...c, vectors: vectorsOf(bytes) });
