/** What the expansions of transcendental ops are written with: constants, polynomials and signs of f32 scalars. */
import type { Node } from "../../ir/node.ts";
import { add, and, bitcast, mul, scalar, xor } from "../../ops/build.ts";

export const f32 = (value: number): Node => scalar(Math.fround(value), "f32");
export const i32 = (value: number): Node => scalar(value, "i32");
export const u32 = (value: number): Node => scalar(value, "u32");

/** Horner's rule, the highest coefficient first. */
export const polynomial = (x: Node, [first, ...rest]: readonly number[]): Node =>
  rest.reduce<Node>((sum, c) => add(mul(sum, x), f32(c)), f32(first as number));

/** y with its sign turned round where x is negative. */
export const withSignOf = (y: Node, x: Node): Node =>
  bitcast(xor(bitcast(y, "i32"), and(bitcast(x, "i32"), i32(-(2 ** 31)))), "f32");
