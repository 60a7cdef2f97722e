/** More element-wise functions, composed of the common ones: rounding towards zero, tests, logic of any dtype, and safe forms of
 *  what overflows or is undefined somewhere. Functions, not methods, so that a bundle without them has nothing of them. */
import { ArgumentError } from "../errors.ts";
import { isFloat, largest } from "../ir/dtype.ts";
import {
  abs,
  add,
  and,
  cast,
  ceil,
  div,
  equal,
  floor,
  floorDivide,
  greater,
  isFinite,
  isNan,
  less,
  lessEqual,
  maximum,
  mod,
  mul,
  neg,
  not,
  notEqual,
  or,
  sqrt,
  square,
  stopGradient,
  sub,
  where,
  xor,
} from "./arithmetic.ts";
import { floatNode, metTensors, nodeOf, type Operand, result } from "./operand.ts";
import { all } from "./reduce.ts";
import { Tensor } from "./tensor.ts";

const asTensor = (op: string, x: Operand): Tensor => (x instanceof Tensor ? x : result(() => nodeOf(op, x)));
const asFloat = (op: string, x: Operand): Tensor => result(() => floatNode(op, x));
const pair = (op: string, a: Operand, b: Operand): [Tensor, Tensor] => metTensors(op, [a, b]) as [Tensor, Tensor];

/** x without its fraction: towards zero. */
export const trunc = (x: Operand): Tensor => {
  const y = asFloat("trunc", x);
  return where(less(y, 0), ceil(y), floor(y));
};

/** x − trunc x, with the sign of x. */
export const frac = (x: Operand): Tensor => {
  const y = asFloat("frac", x);
  return sub(y, trunc(y));
};

/** 1 / x. */
export const reciprocal = (x: Operand): Tensor => div(1, x);

/** The quotient rounded towards zero, as C's division of integers. Integer division by zero gives 0. */
export const truncDivide = (a: Operand, b: Operand): Tensor => {
  const [x, y] = pair("truncDivide", a, b);
  if (isFloat(x.dtype)) return trunc(div(x, y));
  const rest = mod(x, y);
  // Rounded down, a negative quotient with a remainder is one too small.
  const negative = notEqual(less(x, 0), less(y, 0));
  return add(floorDivide(x, y), cast(and(negative, notEqual(rest, 0)), x.dtype));
};

/** The remainder with the sign of a, as C's `fmod` and JavaScript's `%`. */
export const fmod = (a: Operand, b: Operand): Tensor => {
  const [x, y] = pair("fmod", a, b);
  if (isFloat(x.dtype)) {
    const negative = less(x, 0);
    const rest = mod(where(negative, neg(x), x), abs(y));
    return where(negative, neg(rest), rest);
  }
  const rest = mod(x, y);
  const turned = and(notEqual(rest, 0), notEqual(less(rest, 0), less(x, 0)));
  return where(turned, sub(rest, y), rest);
};

/** Whether an element is infinite, of either sign. */
export const isInf = (x: Operand): Tensor => equal(abs(x), Number.POSITIVE_INFINITY);

/** x with numbers in the place of NaN (0 unless told) and of the infinities (the largest of the dtype unless told). */
export const nanToNum = (
  x: Operand,
  { nan = 0, posInf, negInf }: { readonly nan?: number; readonly posInf?: number; readonly negInf?: number } = {},
): Tensor => {
  const y = asTensor("nanToNum", x);
  if (!isFloat(y.dtype)) return y;
  const most = largest[y.dtype] ?? 0;
  const finite = where(isFinite(y), y, where(greater(y, 0), posInf ?? most, negInf ?? -most));
  return where(isNan(y), nan, finite);
};

const truth = (op: string, x: Operand): Tensor => cast(asTensor(op, x), "bool");
/** Logic on what is not 0, whatever the dtype; NaN is not 0. */
export const logicalAnd = (a: Operand, b: Operand): Tensor => and(truth("logicalAnd", a), truth("logicalAnd", b));
/** Whether a or b is not 0. */
export const logicalOr = (a: Operand, b: Operand): Tensor => or(truth("logicalOr", a), truth("logicalOr", b));
/** Whether just one of a and b is not 0. */
export const logicalXor = (a: Operand, b: Operand): Tensor => xor(truth("logicalXor", a), truth("logicalXor", b));
/** Whether x is 0. */
export const logicalNot = (x: Operand): Tensor => not(truth("logicalNot", x));

/** Whether the sign is minus, of −0 too. */
export const signBit = (x: Operand): Tensor => {
  const y = asTensor("signBit", x);
  return isFloat(y.dtype) ? or(less(y, 0), less(div(1, y), 0)) : less(y, 0);
};

/** |a| with the sign of b, of −0 too. */
export const copySign = (a: Operand, b: Operand): Tensor => {
  const [x, y] = pair("copySign", a, b).map((v) => asFloat("copySign", v)) as [Tensor, Tensor];
  return where(equal(signBit(x), signBit(y)), x, neg(x));
};

/** √(a² + b²) without overflow; an infinity beside NaN is an infinity. Its gradient at the origin is 0. */
export const hypot = (a: Operand, b: Operand): Tensor => {
  const [x, y] = pair("hypot", a, b).map((v) => asFloat("hypot", v)) as [Tensor, Tensor];
  const most = stopGradient(maximum(abs(x), abs(y)));
  const plain = or(equal(most, 0), equal(most, Number.POSITIVE_INFINITY));
  const scale = where(plain, 1, most);
  const s = add(square(div(x, scale)), square(div(y, scale)));
  const none = equal(s, 0);
  const length = where(none, 0, mul(sqrt(where(none, 1, s)), scale));
  return where(or(isInf(x), isInf(y)), Number.POSITIVE_INFINITY, length);
};

/** a + weight · (b − a), from whichever end is nearer, so that a weight of 1 gives b. */
export const lerp = (a: Operand, b: Operand, weight: Operand): Tensor => {
  const [x, y] = pair("lerp", a, b).map((v) => asFloat("lerp", v)) as [Tensor, Tensor];
  const step = sub(y, x);
  return where(less(weight, 0.5), add(x, mul(weight, step)), sub(y, mul(step, sub(1, weight))));
};

/** How far apart numbers may be that count as close. */
export interface Closeness {
  readonly relative?: number;
  readonly absolute?: number;
  readonly equalNan?: boolean;
}

/** |a − b| ≤ absolute + relative · |b|; an infinity is close to itself alone.
 *  @throws ArgumentError for a negative tolerance */
export const isClose = (
  a: Operand,
  b: Operand,
  { relative = 1e-5, absolute = 1e-8, equalNan = false }: Closeness = {},
): Tensor => {
  if (!(relative >= 0 && absolute >= 0))
    throw new ArgumentError(`isClose: expected tolerances of at least 0, got ${relative} and ${absolute}`);
  const [x, y] = pair("isClose", a, b).map((v) => asFloat("isClose", v)) as [Tensor, Tensor];
  const near = and(isFinite(y), lessEqual(abs(sub(x, y)), add(mul(abs(y), relative), absolute)));
  const close = or(equal(x, y), near);
  return equalNan ? or(close, and(isNan(x), isNan(y))) : close;
};

/** Whether all elements are close: a bool scalar. */
export const allClose = (a: Operand, b: Operand, options?: Closeness): Tensor => all(isClose(a, b, options));
