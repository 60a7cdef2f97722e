/** Tensors from nothing and from JavaScript values. */
import { ArgumentError, DTypeError, ShapeError } from "../errors.ts";
import { byteSize, type DType, dtypes, isFloat } from "../ir/dtype.ts";
import { type Dim, known, sizeOf } from "../ir/dim.ts";
import { currentScope } from "../ir/scope.ts";
import { located } from "../ir/site.ts";
import { tensorType } from "../ir/type.ts";
import * as build from "../ops/build.ts";
import { defaultStream } from "../runtime/devices.ts";
import { add, cast, mul } from "./arithmetic.ts";
import { checkDType, encode, naturalDType, type HalfArray, type TypedArray } from "./dtypes.ts";
import { numberNode, result } from "./operand.ts";
import { lazyScope, leaf } from "./pending.ts";
import { type Nested, Tensor } from "./tensor.ts";

/** The dtype of a new tensor. */
export interface CreateOptions {
  readonly dtype?: DType;
}

/** A tensor of these values: a number, nested arrays, or a typed array with a shape.
 *
 *  @param values  copied; `Float64Array` gives f64, `Int32Array` i32 and so on, plain numbers f32, booleans bool, BigInts i64
 *  @throws ShapeError for ragged arrays or a shape that the values do not fill; DTypeError for an unknown dtype
 *  @example tensor([[1, 2], [3, 4]])   // f32[2, 2] */
export const tensor = (
  values: Nested | TypedArray | HalfArray,
  options: CreateOptions & { readonly shape?: readonly number[] } = {},
): Tensor => located(() => fromValues(values, options));

function fromValues(
  values: Nested | TypedArray | HalfArray,
  options: CreateOptions & { readonly shape?: readonly number[] },
): Tensor {
  const flat: (number | bigint | boolean)[] = [];
  const own = ArrayBuffer.isView(values) ? [values.length] : shapeOf(values, flat);
  const data: ArrayLike<number | bigint | boolean> = ArrayBuffer.isView(values) ? values : flat;
  const shape = options.shape ?? own;
  const dtype = checkDType(options.dtype ?? naturalDType(data));
  if (sizeOf(shape) !== data.length)
    throw new ShapeError(`tensor: ${data.length} values do not fill [${shape.join(", ")}]`);
  if (dtypes[dtype].role === "block")
    throw new DTypeError(`tensor: ${dtype} is a storage format; quantize a float tensor instead`);
  return fromBytes(dtype, shape, encode(dtype, data));
}

function shapeOf(values: Nested, flat: (number | bigint | boolean)[]): number[] {
  if (!isList(values)) {
    if (!["number", "bigint", "boolean"].includes(typeof values))
      throw new ArgumentError(`tensor: expected numbers, got ${values === null ? "null" : typeof values}`);
    flat.push(values);
    return [];
  }
  const inner = values.map((v) => shapeOf(v, flat));
  const [first] = inner;
  for (const s of inner)
    if (String(s) !== String(first) || s.length !== first?.length)
      throw new ShapeError(`tensor: the nested arrays are ragged: [${String(first)}] beside [${String(s)}]`);
  return [values.length, ...(first ?? [])];
}

const isList = (v: Nested): v is readonly Nested[] => Array.isArray(v);

/** A tensor over storage bytes in row-major order, as a file holds them; they are copied.
 *  @throws ShapeError if the number of bytes is not the shape's */
export const fromBytes = (dtype: DType, shape: readonly number[], bytes: Uint8Array): Tensor =>
  located(() => uploaded(dtype, shape, bytes));

/** A tensor of storage bytes that are all the same, with memory of its own. */
export const ofByte = (dtype: DType, shape: readonly number[], byte: number): Tensor =>
  located(() => {
    const type = tensorType(dtype, checkShape(shape));
    return new Tensor(leaf(type, defaultStream().filled(type, byte)));
  });

function uploaded(dtype: DType, shape: readonly number[], bytes: Uint8Array): Tensor {
  const need = byteSize(dtype, known(sizeOf(checkShape(shape)), "fromBytes"));
  if (bytes.length !== need)
    throw new ShapeError(`${dtype}[${shape.join(", ")}] takes ${need} bytes, got ${bytes.length}`);
  const type = tensorType(dtype, shape);
  return new Tensor(leaf(type, defaultStream().upload(type, bytes)));
}

/** Every element the same. */
export const full = (shape: readonly Dim[], value: number, { dtype = "f32" }: CreateOptions = {}): Tensor =>
  result(() =>
    build.fill(
      currentScope() === lazyScope ? build.scalar(value, checkDType(dtype)) : numberNode(value, checkDType(dtype)),
      checkShape(shape),
    ),
  );

/** A tensor full of 0, f32 unless another dtype is asked for. */
export const zeros = (shape: readonly Dim[], options?: CreateOptions): Tensor => full(shape, 0, options);
/** A tensor full of 1, f32 unless another dtype is asked for. */
export const ones = (shape: readonly Dim[], options?: CreateOptions): Tensor => full(shape, 1, options);
/** Zeros of the shape and dtype of another tensor. */
export const zerosLike = (x: Tensor): Tensor => zeros(x.dims, { dtype: x.dtype });
/** Ones of the shape and dtype of another tensor. */
export const onesLike = (x: Tensor): Tensor => ones(x.dims, { dtype: x.dtype });

function checkShape<D extends Dim>(shape: readonly D[]): readonly D[] {
  for (const d of shape)
    if (typeof d === "number" && (!Number.isSafeInteger(d) || d < 0))
      throw new ShapeError(`a shape is made of whole numbers of at least 0, got [${shape.map(String).join(", ")}]`);
  return shape;
}

/** start, start + step, … up to but not including stop. Whole numbers give i32, others f32, unless a dtype is asked for.
 *  @example arange(4)   // [0, 1, 2, 3] */
export function arange(startOrStop: number, stop?: number, step = 1, { dtype }: CreateOptions = {}): Tensor {
  const [from, to] = stop === undefined ? [0, startOrStop] : [startOrStop, stop];
  const count = Math.max(0, Math.ceil((to - from) / step));
  const whole = [from, to, step].every(Number.isInteger);
  const wanted = dtype ?? (whole ? "i32" : "f32");
  const counted = result(() => {
    if (!Number.isFinite(count)) throw new ArgumentError(`arange: from ${from} to ${to} by ${step} has no end`);
    return build.iota(isFloat(wanted) ? wanted : "i32", [count], 0);
  });
  return cast(add(mul(counted, step), from), wanted);
}

/** The index along one axis, at every position of a shape. */
export const iota = (shape: readonly Dim[], axis = 0, { dtype = "i32" }: CreateOptions = {}): Tensor =>
  result(() => build.iota(checkDType(dtype), checkShape(shape), axis));

/** The identity matrix. */
export const eye = (n: number, { dtype = "f32" }: CreateOptions = {}): Tensor =>
  result(() => build.cast(build.eq(build.iota("i32", [n, n], 0), build.iota("i32", [n, n], 1)), dtype));
