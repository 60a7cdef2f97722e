/** What the tests of transcendental functions share: inputs of all magnitudes, and errors in units in the last place. */
import assert from "node:assert/strict";
import { roundTo } from "../../ir/dtype.ts";
import { type Fn, topological } from "../../ir/fn.ts";
import type { Node } from "../../ir/node.ts";
import { define } from "../../ops/table.ts";
import { evaluateKernel } from "../evaluate.ts";
import { group } from "../kernel.fixture.ts";
import { lower } from "../lower.ts";
import { expandTranscendentals } from "./transcendental.ts";

const expanded: ReadonlySet<string> = new Set(["exp", "log", "tanh", "erf", "sin", "cos", "pow"]);

const bits = new DataView(new ArrayBuffer(4));
const fromBits = (n: number): number => {
  bits.setUint32(0, n);
  return bits.getFloat32(0);
};

/** The distance of a positive number from the next one in its dtype; that of the least subnormal below it. */
export const ulp = (y: number, dtype: "f32" | "f64" = "f32"): number =>
  dtype === "f32"
    ? Math.max(2 ** -149, 2 ** (Math.floor(Math.log2(Math.abs(y))) - 23))
    : Math.max(2 ** -1074, 2 ** (Math.floor(Math.log2(Math.abs(y))) - 52));

/** The op on numbers, expanded, by the meaning of the loop level. */
export function run(
  op: (x: Node, y: Node) => Node,
  xs: readonly number[],
  ys: readonly number[] = xs,
  dtype: "f32" | "f64" = "f32",
  expand: (kernel: Fn) => Fn = expandTranscendentals,
): Float64Array {
  const fn = group(
    [
      [dtype, [xs.length]],
      [dtype, [xs.length]],
    ],
    (x, y) => op(x, y),
  );
  const kernel = expandTranscendentals(expand(lower(fn)));
  const left = topological(kernel.results).filter(
    (n) => define(n.op).expand ?? (dtype === "f32" && expanded.has(n.op)),
  );
  assert.deepEqual(left, []);
  return evaluateKernel(kernel, [Float64Array.from(xs), Float64Array.from(ys)])[0] as Float64Array;
}

/** The greatest error in ulp of the exact result. Where that overflows, infinity must come. */
export function worst(
  got: Float64Array,
  want: (i: number) => number,
  dtype: "f32" | "f64" = "f32",
): { readonly error: number; readonly at: number } {
  let worstSoFar = { error: 0, at: -1 };
  got.forEach((y, i) => {
    const exact = want(i);
    const rounded = roundTo(dtype, exact);
    const same = Object.is(y, rounded) || (Number.isNaN(y) && Number.isNaN(rounded));
    const error = same
      ? 0
      : Number.isFinite(y) && Number.isFinite(rounded)
        ? Math.abs(y - exact) / ulp(exact, dtype)
        : Number.POSITIVE_INFINITY;
    if (error > worstSoFar.error) worstSoFar = { error, at: i };
  });
  return worstSoFar;
}

/** Numbers between two bounds, evenly in value; and f32 of all magnitudes. */
export const between = (lo: number, hi: number, count = 4000): number[] =>
  Array.from({ length: count }, (_, i) => Math.fround(lo + ((hi - lo) * (i + 0.37)) / count));
export const magnitudes = (loBits: number, hiBits: number, count = 3000): number[] =>
  Array.from({ length: count }, (_, i) => fromBits(Math.floor(loBits + ((hiBits - loBits) * (i + 0.61)) / count)));
export const specials = [
  0,
  -0,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  Number.NaN,
  1,
  -1,
  2 ** -149,
  2 ** -126,
  3.4028234663852886e38,
  -3.4028234663852886e38,
];
