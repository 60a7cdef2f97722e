/** The element-wise ops on one value, with the op table's meaning: floor division, NaN that propagates through max and min,
 *  shifts past the last bit, and no trap for any operand. */

import type { DType, Op } from "sinan/south";
import { constant } from "./lanes.ts";
import { rulesOf } from "./rules.ts";
import { constantOf, type Value, type ValueGraph } from "./value.ts";

/** The functions on doubles that a kernel may import from the module "math". */
export const imported = ["exp", "log", "sin", "cos", "tanh", "erf", "pow", "fmod"] as const;

type Float = "f32" | "f64";

export function scalarOp(g: ValueGraph, op: Op, dtype: DType, args: readonly Value[]): Value | undefined {
  const [a, b] = args as [Value, Value];
  if (op === "where") return g.select(b, args[2] as Value, a);
  if (dtype === "f32" || dtype === "f64") return floatOp(g, op, dtype, a, b);
  if (dtype === "bool") return boolOp(g, op, a, b);
  if (dtype === "i32" || dtype === "u32") return integerOp(g, op, dtype === "i32", a, b);
  if (dtype === "i64") return rulesOf(dtype).wideOp(g, op, a, b);
  return undefined;
}

function floatOp(g: ValueGraph, op: Op, t: Float, a: Value, b: Value): Value | undefined {
  const zero = constant(g, t, 0);
  const one = constant(g, t, 1);
  switch (op) {
    case "neg":
    case "abs":
    case "sqrt":
    case "floor":
      return g.op(`${t}.${op}`, [a]);
    case "round":
      return g.op(`${t}.nearest`, [a]);
    case "add":
    case "sub":
    case "mul":
    case "div":
    case "max":
    case "min":
    case "lt":
    case "eq":
      return g.op(`${t}.${op}`, [a, b]);
    case "sign":
      return g.select(one, g.select(constant(g, t, -1), a, g.op(`${t}.lt`, [a, zero])), g.op(`${t}.gt`, [a, zero]));
    case "rsqrt":
      return g.op(`${t}.div`, [one, g.op(`${t}.sqrt`, [a])]);
    case "idiv":
      // In doubles, as a quotient rounded to f32 may have been rounded up to an integer.
      return inDoubles(g, t, [a, b], (x, y) => g.op("f64.floor", [g.op("f64.div", [x, y as Value])]));
    case "mod":
      return inDoubles(g, t, [a, b], (x, y) => g.call("fmod", x, y as Value));
    case "pow":
      return inDoubles(g, t, [a, b], (x, y) => g.call("pow", x, y as Value));
    case "exp":
    case "log":
    case "sin":
    case "cos":
    case "tanh":
    case "erf":
      return inDoubles(g, t, [a], (x) => g.call(op, x));
    default:
      return undefined;
  }
}

function inDoubles(g: ValueGraph, t: Float, args: readonly Value[], body: (x: Value, y?: Value) => Value): Value {
  const [x, y] = args.map((v) => (t === "f64" ? v : g.op("f64.promote_f32", [v]))) as [Value, Value?];
  const result = body(x, y);
  return t === "f64" ? result : g.op("f32.demote_f64", [result]);
}

function boolOp(g: ValueGraph, op: Op, a: Value, b: Value): Value | undefined {
  switch (op) {
    case "not":
      return g.op("i32.eqz", [a]);
    case "and":
    case "min":
      return g.op("i32.and", [a, b]);
    case "or":
    case "max":
      return g.op("i32.or", [a, b]);
    case "xor":
      return g.op("i32.xor", [a, b]);
    case "lt":
      return g.op("i32.lt_u", [a, b]);
    case "eq":
      return g.op("i32.eq", [a, b]);
    default:
      return undefined;
  }
}

function integerOp(g: ValueGraph, op: Op, signed: boolean, a: Value, b: Value): Value | undefined {
  const zero = g.i32(0);
  const less = signed ? "i32.lt_s" : "i32.lt_u";
  switch (op) {
    case "neg":
      return g.op("i32.sub", [zero, a]);
    case "abs":
      return signed ? g.select(g.op("i32.sub", [zero, a]), a, g.op("i32.lt_s", [a, zero])) : a;
    case "sign":
      if (!signed) return g.op("i32.ne", [a, zero]);
      return g.op("i32.sub", [g.op("i32.gt_s", [a, zero]), g.op("i32.lt_s", [a, zero])]);
    case "not":
      return g.op("i32.xor", [a, g.i32(-1)]);
    case "add":
    case "sub":
    case "mul":
    case "and":
    case "or":
    case "xor":
    case "eq":
      return g.op(`i32.${op}`, [a, b]);
    case "lt":
      return g.op(less, [a, b]);
    case "max":
      return g.select(b, a, g.op(less, [a, b]));
    case "min":
      return g.select(a, b, g.op(less, [a, b]));
    case "shl":
      return shift(g, b, g.op("i32.shl", [a, b]), zero);
    case "shr":
      if (signed) return g.op("i32.shr_s", [a, g.select(b, g.i32(31), g.op("i32.lt_u", [b, g.i32(32)]))]);
      return shift(g, b, g.op("i32.shr_u", [a, b]), zero);
    case "idiv":
      return signed ? floorDivide(g, a, b) : divideUnsigned(g, "i32.div_u", a, b);
    case "mod":
      return signed ? floorMod(g, a, b) : divideUnsigned(g, "i32.rem_u", a, b);
    default:
      return undefined;
  }
}

/** Machine shifts take the amount modulo 32. */
const shift = (g: ValueGraph, by: Value, shifted: Value, past: Value): Value =>
  g.select(shifted, past, g.op("i32.lt_u", [by, g.i32(32)]));

const isPowerOfTwo = (n: number): boolean => n > 0 && (n & (n - 1)) === 0;

function divideUnsigned(g: ValueGraph, op: "i32.div_u" | "i32.rem_u", a: Value, b: Value): Value {
  const none = g.op("i32.eqz", [b]);
  return g.select(g.i32(0), g.op(op, [a, g.op("i32.or", [b, none])]), none);
}

function floorDivide(g: ValueGraph, a: Value, b: Value): Value {
  const k = constantOf(b);
  if (k !== undefined && isPowerOfTwo(k)) return g.op("i32.shr_s", [a, g.i32(31 - Math.clz32(k))]);
  if (k !== undefined && k > 0) {
    const quotient = g.op("i32.div_s", [a, b]);
    const rest = g.op("i32.sub", [a, g.op("i32.mul", [quotient, b])]);
    return g.op("i32.add", [quotient, g.op("i32.shr_s", [rest, g.i32(31)])]);
  }
  // −1 and 0 are set apart: the machine traps on x / 0 and on −2³¹ / −1; there the answer is a · b.
  const special = g.op("i32.lt_u", [g.op("i32.add", [b, g.i32(1)]), g.i32(2)]);
  const safe = g.select(g.i32(1), b, special);
  const quotient = g.op("i32.div_s", [a, safe]);
  const rest = g.op("i32.sub", [a, g.op("i32.mul", [quotient, safe])]);
  const uneven = g.op("i32.and", [
    g.op("i32.ne", [rest, g.i32(0)]),
    g.op("i32.shr_u", [g.op("i32.xor", [rest, safe]), g.i32(31)]),
  ]);
  return g.select(g.op("i32.mul", [a, b]), g.op("i32.sub", [quotient, uneven]), special);
}

function floorMod(g: ValueGraph, a: Value, b: Value): Value {
  const k = constantOf(b);
  if (k !== undefined && isPowerOfTwo(k)) return g.op("i32.and", [a, g.i32(k - 1)]);
  const none = g.op("i32.eqz", [b]);
  const safe = g.op("i32.or", [b, none]);
  const rest = g.op("i32.rem_s", [a, safe]);
  const uneven = g.op("i32.and", [
    g.op("i32.ne", [rest, g.i32(0)]),
    g.op("i32.shr_u", [g.op("i32.xor", [rest, safe]), g.i32(31)]),
  ]);
  const floored = g.op("i32.add", [rest, g.op("i32.and", [safe, g.op("i32.sub", [g.i32(0), uneven])])]);
  return g.select(g.i32(0), floored, none);
}
