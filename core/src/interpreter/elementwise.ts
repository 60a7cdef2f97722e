/** Element-wise ops on arrays of doubles. The meaning is the op table's `scalar`; the frequent ones are written out as
 *  loops of their own, which a test holds equal to it. */
import { type DType, dtypes, isFloat } from "../ir/dtype.ts";
import type { Op } from "../ir/node.ts";
import type { Scalar } from "../ops/define.ts";
import { define } from "../ops/table.ts";
import { bigints, decode, doubles, encode, newData, roundAll, type Value } from "./value.ts";
import { isWhole, whole } from "./whole.ts";

/** The op on values of equal dims, rounded to `result`. */
export function elementwise(op: Op, src: readonly Value[], result: DType, exact: boolean): Value {
  const [a] = src as [Value];
  const dims = a.dims;
  if (op === "cast") return cast(a, result, exact);
  if (op === "bitcast") return decode(result, encode(oneNaN(a)), dims);
  if (op === "where") return select(src as [Value, Value, Value]);
  if (a.data instanceof BigInt64Array) return ofWhole(op, src, result);
  const out = new Float64Array(a.data.length);
  const inputs = src.map(doubles);
  const done =
    isFloat((src.at(-1) as Value).dtype) &&
    (inputs.length === 1
      ? unary(op, inputs[0] as Float64Array, out)
      : binary(op, inputs[0] as Float64Array, inputs[1] as Float64Array, out));
  if (!done) general(op, inputs, (src.at(-1) as Value).dtype, result, out);
  return { dtype: result, dims, data: roundAll(result, out, exact) };
}

/** An op on i64. */
function ofWhole(op: Op, src: readonly Value[], result: DType): Value {
  if (!isWhole(op)) throw new TypeError(`${op} has no meaning on i64`);
  const [a, b = a] = src.map(bigints) as [BigInt64Array, BigInt64Array?];
  const out = newData(result, a.length);
  for (let i = 0; i < out.length; i++) {
    const y = whole[op](a[i] as bigint, b[i] as bigint);
    if (out instanceof BigInt64Array) out[i] = y;
    else out[i] = Number(y);
  }
  return { dtype: result, dims: (src[0] as Value).dims, data: out };
}

/** Any op by its table entry. */
export function general(op: Op, src: readonly Float64Array[], dtype: DType, result: DType, out: Float64Array): void {
  const entry = define(op);
  if (entry.role !== "elementwise") throw new TypeError(`${op} is not element-wise`);
  const scalar: Scalar = entry.scalar;
  const x = src.map(() => 0);
  const arity = src.length;
  for (let i = 0; i < out.length; i++) {
    for (let s = 0; s < arity; s++) x[s] = (src[s] as Float64Array)[i] as number;
    out[i] = scalar(x, dtype, result);
  }
}

/** The frequent float ops of one source; false for any other. */
function unary(op: Op, a: Float64Array, out: Float64Array): boolean {
  const n = out.length;
  switch (op) {
    case "neg":
      for (let i = 0; i < n; i++) out[i] = -(a[i] as number);
      return true;
    case "abs":
      for (let i = 0; i < n; i++) out[i] = Math.abs(a[i] as number);
      return true;
    case "sqrt":
      for (let i = 0; i < n; i++) out[i] = Math.sqrt(a[i] as number);
      return true;
    case "rsqrt":
      for (let i = 0; i < n; i++) out[i] = 1 / Math.sqrt(a[i] as number);
      return true;
    case "exp":
      for (let i = 0; i < n; i++) out[i] = Math.exp(a[i] as number);
      return true;
    case "log":
      for (let i = 0; i < n; i++) out[i] = Math.log(a[i] as number);
      return true;
    case "tanh":
      for (let i = 0; i < n; i++) out[i] = Math.tanh(a[i] as number);
      return true;
    default:
      return false;
  }
}

/** The frequent float ops of two sources; false for any other. */
function binary(op: Op, a: Float64Array, b: Float64Array, out: Float64Array): boolean {
  const n = out.length;
  switch (op) {
    case "add":
      for (let i = 0; i < n; i++) out[i] = (a[i] as number) + (b[i] as number);
      return true;
    case "sub":
      for (let i = 0; i < n; i++) out[i] = (a[i] as number) - (b[i] as number);
      return true;
    case "mul":
      for (let i = 0; i < n; i++) out[i] = (a[i] as number) * (b[i] as number);
      return true;
    case "div":
      for (let i = 0; i < n; i++) out[i] = (a[i] as number) / (b[i] as number);
      return true;
    case "max":
      for (let i = 0; i < n; i++) out[i] = Math.max(a[i] as number, b[i] as number);
      return true;
    case "min":
      for (let i = 0; i < n; i++) out[i] = Math.min(a[i] as number, b[i] as number);
      return true;
    case "lt":
      for (let i = 0; i < n; i++) out[i] = (a[i] as number) < (b[i] as number) ? 1 : 0;
      return true;
    case "eq":
      for (let i = 0; i < n; i++) out[i] = a[i] === b[i] ? 1 : 0;
      return true;
    default:
      return false;
  }
}

/** With every NaN the same: which one an operation gives is the processor's choice, and bits would show it. */
function oneNaN(x: Value): Value {
  const { data } = x;
  if (!isFloat(x.dtype) || !(data instanceof Float64Array)) return x;
  return { ...x, data: data.map((d) => (Number.isNaN(d) ? Number.NaN : d)) };
}

function select([condition, a, b]: readonly [Value, Value, Value]): Value {
  const c = doubles(condition);
  const data = newData(a.dtype, c.length);
  for (let i = 0; i < c.length; i++) data[i] = (c[i] !== 0 ? a.data[i] : b.data[i]) as never;
  return { dtype: a.dtype, dims: a.dims, data };
}

/** Float to integer saturates, integer to integer wraps, anything to bool asks whether it is not 0. */
function cast(x: Value, to: DType, exact: boolean): Value {
  const { dims } = x;
  if (x.data instanceof BigInt64Array) return to === "i64" ? x : { dtype: to, dims, data: fromI64(x.data, to, exact) };
  if (to === "i64") return { dtype: to, dims, data: toI64(x.data, isFloat(x.dtype)) };
  const out = new Float64Array(x.data.length);
  if (isFloat(x.dtype) && !isFloat(to)) general("cast", [x.data], x.dtype, to, out);
  else if (dtypes[to].kind === "bool") for (let i = 0; i < out.length; i++) out[i] = x.data[i] !== 0 ? 1 : 0;
  else out.set(x.data);
  return { dtype: to, dims, data: roundAll(to, out, exact) };
}

function fromI64(data: BigInt64Array, to: DType, exact: boolean): Float64Array {
  const { kind, bits } = dtypes[to];
  const out = new Float64Array(data.length);
  for (let i = 0; i < out.length; i++) {
    const x = data[i] as bigint;
    if (kind === "bool") out[i] = x === 0n ? 0 : 1;
    else if (kind === "int") out[i] = Number(BigInt.asIntN(bits, x));
    else if (kind === "uint") out[i] = Number(BigInt.asUintN(bits, x));
    else out[i] = to === "f64" || exact ? Number(x) : sticky(x);
  }
  return roundAll(to, out, exact);
}

/** A double that rounds to the same narrower float as x does, rounded to odd so that it is not rounded twice. */
function sticky(x: bigint): number {
  const high = x >> 11n;
  return Number.isSafeInteger(Number(x)) ? Number(x) : Number((high << 11n === x ? high : high | 1n) << 11n);
}

function toI64(data: Float64Array, saturate: boolean): BigInt64Array {
  const out = new BigInt64Array(data.length);
  for (let i = 0; i < out.length; i++) {
    const x = data[i] as number;
    if (!saturate) out[i] = BigInt(x);
    else if (x >= 2 ** 63) out[i] = 2n ** 63n - 1n;
    else if (x <= -(2 ** 63)) out[i] = -(2n ** 63n);
    else out[i] = Number.isNaN(x) ? 0n : BigInt(Math.trunc(x));
  }
  return out;
}
