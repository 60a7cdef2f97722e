/** f32 pow for hardware with fused multiply-adds: the logarithm and its product with the exponent in f64, two vectors of which cost less
 *  than the pairs of f32 that `transcendental.ts` has. Error as tested: 2 units in the last place. */
import type { Node } from "../../ir/node.ts";
import { abs, cast, max, min, mul, round, scalar, sub } from "../../ops/build.ts";
import { fma } from "../../ops/machine.ts";
import { f32 } from "./float.ts";
import type { Scaled } from "./fused-transcendental.ts";
import { parts, power } from "./transcendental.ts";

const f64 = (value: number): Node => scalar(value, "f64");

const horner = (x: Node, of: (value: number) => Node, [first, ...rest]: readonly number[]): Node =>
  rest.reduce<Node>((sum, c) => fma(sum, x, of(c)), of(first as number));

/** @param scaled  y · 2ⁿ */
export const fusedPower = (x: Node, y: Node, scaled: Scaled): Node => power(x, y, ofPositive(abs(x), y, scaled));

/** 2^(y log₂ a). Minimax polynomials: log₂(1 + r) / r between √½ and √2 within 2⁻³⁵, (2ʳ − 1) / r up to ½ within 2⁻²⁸. */
function ofPositive(a: Node, y: Node, scaled: Scaled): Node {
  const { e, m } = parts(a);
  const r = cast(sub(m, f32(1)), "f64");
  const ratio = horner(
    r,
    f64,
    [
      0.07737072813095643, -0.14283963224000779, 0.1447484391414669, -0.1431563971586049, 0.15876979420911172,
      -0.18030060619905255, 0.2061753601914445, -0.2404531654213344, 0.2885372934481487, -0.3606736748306114,
      0.48089836139570596, -0.721347520868742, 1.442695040868705,
    ],
  );
  // An infinite one would make NaN of the logarithm of 1.
  const exponent = cast(min(max(y, f32(-(2 ** 34))), f32(2 ** 34)), "f64");
  const product = mul(exponent, fma(r, ratio, cast(e, "f64")));
  // Beyond these bounds the result is 0 or infinity.
  const bounded = min(max(product, f64(-252)), f64(252));
  const n = round(bounded);
  const rest = cast(sub(bounded, n), "f32");
  const series = horner(
    rest,
    f32,
    [
      0.0001535192277515307, 0.0013398292940109968, 0.009618439711630344, 0.05550334230065346, 0.24022647738456726,
      0.6931471824645996,
    ],
  );
  return scaled(fma(series, rest, f32(1)), cast(n, "f32"));
}
