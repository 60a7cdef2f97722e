/** The meaning of ops on i64 in BigInts, as the op table's `scalar` is that of the other dtypes in doubles. Beside the table
 *  rather than in it, so that programs which are only compiled do not carry it. True and false are 1n and 0n; the caller
 *  wraps results to 64 bits. */
import type { Op } from "../ir/node.ts";

const truth = (x: boolean): bigint => (x ? 1n : 0n);

/** The remainder has the divisor's sign, the quotient is rounded down; by zero both are 0. */
function remainder(a: bigint, b: bigint): bigint {
  if (b === 0n) return 0n;
  const r = a % b;
  return r !== 0n && r < 0n !== b < 0n ? r + b : r;
}

const isInWord = (by: bigint): boolean => by >= 0n && by < 64n;

/** Ops of one source ignore the second. */
export const whole = {
  neg: (a) => -a,
  abs: (a) => (a < 0n ? -a : a),
  sign: (a) => truth(a > 0n) - truth(a < 0n),
  not: (a) => ~a,
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  idiv: (a, b) => (b === 0n ? 0n : (a - remainder(a, b)) / b),
  mod: remainder,
  max: (a, b) => (a > b ? a : b),
  min: (a, b) => (a < b ? a : b),
  lt: (a, b) => truth(a < b),
  eq: (a, b) => truth(a === b),
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  // Past the last bit nothing is left, or the sign.
  shl: (a, b) => (isInWord(b) ? a << b : 0n),
  shr: (a, b) => a >> (isInWord(b) ? b : 63n),
} as const satisfies { readonly [O in Op]?: (a: bigint, b: bigint) => bigint };

export type WholeOp = keyof typeof whole;
export const isWhole = (op: Op): op is WholeOp => Object.hasOwn(whole, op);
