/** Element-wise operations. Operands broadcast and promote (see `operand.ts`); results have the common shape.
 *  All throw ShapeError where shapes do not broadcast and DTypeError where the dtype is not one they take. */
import type { DType } from "../ir/dtype.ts";
import { isFloat } from "../ir/dtype.ts";
import { dimsOf, dtypeOf, type Node } from "../ir/node.ts";
import * as build from "../ops/build.ts";
import { checkDType } from "./dtypes.ts";
import { broadcastDims, broadcastTo, floatNode, meet, nodeOf, type Operand, result } from "./operand.ts";
import type { Tensor } from "./tensor.ts";

const binary =
  (op: string, make: (a: Node, b: Node) => Node) =>
  (a: Operand, b: Operand): Tensor =>
    result(() => {
      const [x, y] = meet(op, [a, b]) as [Node, Node];
      return make(x, y);
    });

const arithmetic =
  (op: string, make: (a: Node, b: Node) => Node) =>
  (a: Operand, b: Operand): Tensor =>
    result(() => {
      const [x, y] = meet(op, [a, b]) as [Node, Node];
      return dtypeOf(x) === "bool" ? make(build.cast(x, "i32"), build.cast(y, "i32")) : make(x, y);
    });

const unary =
  (op: string, make: (x: Node) => Node) =>
  (x: Operand): Tensor =>
    result(() => make(nodeOf(op, x)));
const floating =
  (op: string, make: (x: Node) => Node) =>
  (x: Operand): Tensor =>
    result(() => make(floatNode(op, x)));

/** a + b; of bools, as i32. */
export const add: (a: Operand, b: Operand) => Tensor = arithmetic("add", build.add);
/** a − b; of bools, as i32. */
export const sub: (a: Operand, b: Operand) => Tensor = arithmetic("sub", build.sub);
/** a · b, element by element; of bools, as i32. */
export const mul: (a: Operand, b: Operand) => Tensor = arithmetic("mul", build.mul);

/** True division: integers are divided as f32. */
export const div = (a: Operand, b: Operand): Tensor =>
  result(() => {
    const [x, y] = meet("div", [a, b]) as [Node, Node];
    return isFloat(dtypeOf(x)) ? build.div(x, y) : build.div(build.cast(x, "f32"), build.cast(y, "f32"));
  });

/** The quotient rounded down, as Python's `//`. Integer division by zero gives 0. */
export const floorDivide: (a: Operand, b: Operand) => Tensor = arithmetic("floorDivide", build.idiv);
/** The remainder with the divisor's sign, as Python's `%`. */
export const mod: (a: Operand, b: Operand) => Tensor = arithmetic("mod", build.mod);
/** a to the power of b; of a negative a only for whole b. */
export const pow = (a: Operand, b: Operand): Tensor =>
  result(() => {
    // Small whole powers are products: exact, and with a derivative that needs no logarithm.
    if (b === 2) {
      const x = floatNode("pow", a);
      return build.mul(x, x);
    }
    const [x, y] = meet("pow", [a, b]) as [Node, Node];
    return isFloat(dtypeOf(x)) ? build.pow(x, y) : build.pow(build.cast(x, "f32"), build.cast(y, "f32"));
  });
/** The larger; NaN if either is. */
export const maximum: (a: Operand, b: Operand) => Tensor = binary("maximum", build.max);
/** The smaller; NaN if either is. */
export const minimum: (a: Operand, b: Operand) => Tensor = binary("minimum", build.min);

/** a < b as bool; false where one is NaN. */
export const less: (a: Operand, b: Operand) => Tensor = binary("less", build.lt);
/** a > b as bool; false where one is NaN. */
export const greater = (a: Operand, b: Operand): Tensor => less(b, a);
/** a = b as bool; NaN equals nothing. */
export const equal: (a: Operand, b: Operand) => Tensor = binary("equal", build.eq);
/** a ≠ b as bool; NaN differs from everything. */
export const notEqual: (a: Operand, b: Operand) => Tensor = binary("notEqual", (a, b) => build.not(build.eq(a, b)));
/** a ≤ b, false where either is NaN. */
export const lessEqual: (a: Operand, b: Operand) => Tensor = binary("lessEqual", (a, b) =>
  build.or(build.lt(a, b), build.eq(a, b)),
);
/** a ≥ b as bool; false where one is NaN. */
export const greaterEqual = (a: Operand, b: Operand): Tensor => lessEqual(b, a);

/** Bitwise on integers, logical on bool. */
export const and: (a: Operand, b: Operand) => Tensor = binary("and", build.and);
/** Bitwise or; of bools, the logical one. */
export const or: (a: Operand, b: Operand) => Tensor = binary("or", build.or);
/** Bitwise exclusive or; of bools, the logical one. */
export const xor: (a: Operand, b: Operand) => Tensor = binary("xor", build.xor);
/** a · 2ᵇ of integers, without the bits that fall out. */
export const shiftLeft: (a: Operand, b: Operand) => Tensor = binary("shiftLeft", build.shl);
/** a / 2ᵇ of integers, rounded down: signed ones keep their sign. */
export const shiftRight: (a: Operand, b: Operand) => Tensor = binary("shiftRight", build.shr);
/** Bitwise complement; of bools, the logical one. */
export const not: (x: Operand) => Tensor = unary("not", build.not);

/** `a` where the condition is true, `b` elsewhere; the three broadcast. */
export const where = (condition: Operand, a: Operand, b: Operand): Tensor =>
  result(() => {
    const c = nodeOf("where", condition);
    const [x, y] = meet("where", [a, b]) as [Node, Node];
    const dims = broadcastDims("where", [dimsOf(c), dimsOf(x)]);
    return build.where(broadcastTo(c, dims), broadcastTo(x, dims), broadcastTo(y, dims));
  });

/** −x. */
export const neg: (x: Operand) => Tensor = unary("neg", build.neg);
/** The absolute value. */
export const abs: (x: Operand) => Tensor = unary("abs", build.abs);
/** −1, 0 or 1; NaN of NaN. */
export const sign: (x: Operand) => Tensor = unary("sign", build.sign);
/** x · x. */
export const square = (x: Operand): Tensor => mul(x, x);
/** The square root; NaN below 0. */
export const sqrt: (x: Operand) => Tensor = floating("sqrt", build.sqrt);
/** 1 / √x */
export const rsqrt: (x: Operand) => Tensor = floating("rsqrt", build.rsqrt);
/** e to the power of x. */
export const exp: (x: Operand) => Tensor = floating("exp", build.exp);
/** The natural logarithm; −∞ at 0, NaN below. */
export const log: (x: Operand) => Tensor = floating("log", build.log);
/** The sine of an angle in radians. */
export const sin: (x: Operand) => Tensor = floating("sin", build.sin);
/** The cosine of an angle in radians. */
export const cos: (x: Operand) => Tensor = floating("cos", build.cos);
/** Hyperbolic tangent; floats and, as f32, integers. */
export const tanh: (x: Operand) => Tensor = floating("tanh", build.tanh);
/** The error function. */
export const erf: (x: Operand) => Tensor = floating("erf", build.erf);
/** The greatest whole number that is not above x. */
export const floor: (x: Operand) => Tensor = floating("floor", build.floor);
/** The least whole number that is not below x. */
export const ceil: (x: Operand) => Tensor = floating("ceil", (x) => build.neg(build.floor(build.neg(x))));
/** To the nearest integer, ties to even. */
export const round: (x: Operand) => Tensor = floating("round", build.round);

/** Another dtype. Float to integer truncates and clamps to the range, NaN gives 0; integer to narrower integer wraps. */
export const cast = (x: Operand, dtype: DType): Tensor =>
  result(() => build.cast(nodeOf("cast", x), checkDType(dtype)));
/** The same bits read as another dtype of the same size. */
export const bitcast = (x: Tensor, dtype: DType): Tensor => result(() => build.bitcast(x.node, checkDType(dtype)));
/** The value itself, with no gradient behind it. */
export const stopGradient = (x: Tensor): Tensor => result(() => build.stopGradient(x.node));

/** x limited to lo..hi. */
export const clip = (x: Operand, lo: Operand, hi: Operand): Tensor => minimum(maximum(x, lo), hi);
/** Whether an element is NaN. */
export const isNan = (x: Tensor): Tensor => notEqual(x, x);
/** Neither NaN nor infinite. */
export const isFinite = (x: Tensor): Tensor => less(abs(x), Number.POSITIVE_INFINITY);
