/** The element-wise ops on one i64, with the op table's meaning: floor division, shifts past the last bit, no trap. */

import type { Op } from "sinan/south";
import type { Value, ValueGraph } from "./value.ts";

export function wideOp(g: ValueGraph, op: Op, a: Value, b: Value): Value | undefined {
  const zero = g.i64(0n);
  const inWord = (): Value => g.op("i64.lt_u", [b, g.i64(64n)]);
  switch (op) {
    case "neg":
      return g.op("i64.sub", [zero, a]);
    case "abs":
      return g.select(g.op("i64.sub", [zero, a]), a, g.op("i64.lt_s", [a, zero]));
    case "sign":
      return widened(g, g.op("i32.sub", [g.op("i64.gt_s", [a, zero]), g.op("i64.lt_s", [a, zero])]));
    case "not":
      return g.op("i64.xor", [a, g.i64(-1n)]);
    case "add":
    case "sub":
    case "mul":
    case "and":
    case "or":
    case "xor":
    case "eq":
      return g.op(`i64.${op}`, [a, b]);
    case "lt":
      return g.op("i64.lt_s", [a, b]);
    case "max":
      return g.select(b, a, g.op("i64.lt_s", [a, b]));
    case "min":
      return g.select(a, b, g.op("i64.lt_s", [a, b]));
    case "shl":
      return g.select(g.op("i64.shl", [a, b]), zero, inWord());
    case "shr":
      return g.op("i64.shr_s", [a, g.select(b, g.i64(63n), inWord())]);
    case "idiv":
      return quotient(g, a, b);
    case "mod":
      return remainder(g, a, b);
    default:
      return undefined;
  }
}

const widened = (g: ValueGraph, x: Value): Value => g.op("i64.extend_i32_s", [x]);

/** 1 where the machine's remainder is not 0 and its sign is not the divisor's. */
function uneven(g: ValueGraph, rest: Value, divisor: Value): Value {
  const differ = g.op("i64.lt_s", [g.op("i64.xor", [rest, divisor]), g.i64(0n)]);
  return g.op("i32.and", [g.op("i64.ne", [rest, g.i64(0n)]), differ]);
}

/** −1 and 0 are set apart: the machine traps on x / 0 and on −2⁶³ / −1; there the answer is a · b. */
function quotient(g: ValueGraph, a: Value, b: Value): Value {
  const special = g.op("i64.lt_u", [g.op("i64.add", [b, g.i64(1n)]), g.i64(2n)]);
  const safe = g.select(g.i64(1n), b, special);
  const whole = g.op("i64.div_s", [a, safe]);
  const rest = g.op("i64.sub", [a, g.op("i64.mul", [whole, safe])]);
  const floored = g.op("i64.sub", [whole, widened(g, uneven(g, rest, safe))]);
  return g.select(g.op("i64.mul", [a, b]), floored, special);
}

function remainder(g: ValueGraph, a: Value, b: Value): Value {
  const none = g.op("i64.eqz", [b]);
  const safe = g.select(g.i64(1n), b, none);
  const rest = g.op("i64.rem_s", [a, safe]);
  const floored = g.select(g.op("i64.add", [rest, safe]), rest, uneven(g, rest, safe));
  return g.select(g.i64(0n), floored, none);
}
