/** Random numbers as a function of a key: the same key gives the same numbers on every device, whatever the shape's cut.
 *  Bits are threefry2x32-20 in the partitionable layout (Salmon et al. 2011); keys and floats are made from them as JAX does. */
import { ArgumentError } from "../errors.ts";
import type { Dim } from "../ir/dim.ts";
import type { Node } from "../ir/node.ts";
import { currentScope } from "../ir/scope.ts";
import { located } from "../ir/site.ts";
import { tensorType } from "../ir/type.ts";
import * as build from "../ops/build.ts";
import { add, bitcast, cast, less, maximum, mul, sub } from "./arithmetic.ts";
import { tensor } from "./create.ts";
import { numberNode, result } from "./operand.ts";
import { lazyScope, leaf } from "./pending.ts";
import type { Tensor } from "./tensor.ts";

/** A key: u32[2]. */
export type Key = Tensor;

/** The key of a seed, a whole number below 2⁵³.
 *  @throws ArgumentError */
export const key = (seed: number): Key =>
  located(() => {
    if (!Number.isSafeInteger(seed) || seed < 0)
      throw new ArgumentError(`key: expected a whole number of at least 0, got ${seed}`);
    return tensor(Uint32Array.of(Math.floor(seed / 2 ** 32), seed >>> 0));
  });

const zero = (): Node => build.scalar(0, "u32");

/** Independent keys. */
export function split(k: Key, count = 2): Key[] {
  const words = result(() => build.random(k.node, zero(), [count], 2));
  return Array.from({ length: count }, (_, i) =>
    result(() => build.reshape(build.slice(words.node, [i, 0], [1, 2]), [2])),
  );
}

/** A key for a number: a step, a layer. `n` may be a u32 scalar tensor.
 *  @throws ArgumentError unless n is a whole number below 2³² */
export const fold = (k: Key, n: number | Tensor): Key =>
  result(() => {
    if (typeof n === "number" && (!Number.isInteger(n) || n < 0 || n >= 2 ** 32))
      throw new ArgumentError(`fold: expected a whole number below 2^32, got ${n}`);
    return build.reshape(build.random(k.node, offsetNode(n), [1], 2), [2]);
  });

/** An offset is a parameter of the step, so that a loop which counts compiles once. */
function offsetNode(n: number | Tensor): Node {
  if (typeof n !== "number") return build.cast(n.node, "u32");
  return currentScope() === lazyScope ? leaf(tensorType("u32", [], "host"), n) : numberNode(n, "u32");
}

/** Which part of an array is drawn. */
export interface Part {
  /** The number, in row-major order, of the first element in the whole array: a u32 scalar or a whole number. Default 0. */
  readonly from?: number | Tensor;
}

/** Uniform u32 bits. */
export const bits = (k: Key, shape: readonly Dim[], { from = 0 }: Part = {}): Tensor =>
  result(() => build.random(k.node, from === 0 ? zero() : offsetNode(from), shape));

/** Uniform f32 in low ≤ x < high: 23 bits of mantissa under the exponent of 1. */
export function uniform(
  k: Key,
  shape: readonly Dim[],
  { low = 0, high = 1, from = 0 }: Part & { readonly low?: number; readonly high?: number } = {},
): Tensor {
  const mantissa = result(() => {
    const b = build.random(k.node, from === 0 ? zero() : offsetNode(from), shape);
    return build.or(build.shr(b, build.constantLike(b, 9)), build.constantLike(b, 0x3f800000));
  });
  const unit = sub(bitcast(mantissa, "f32"), 1);
  if (low === 0 && high === 1) return unit;
  return maximum(add(mul(unit, high - low), low), low);
}

/** Standard normal f32: √2 · erf⁻¹(u) of a uniform u in (−1, 1). */
export function normal(
  k: Key,
  shape: readonly Dim[],
  { mean = 0, std = 1 }: { readonly mean?: number; readonly std?: number } = {},
): Tensor {
  const lowest = -0.99999994039535522;
  const x = mul(erfInverse(uniform(k, shape, { low: lowest, high: 1 })), Math.SQRT2);
  return mean === 0 && std === 1 ? x : add(mul(x, std), mean);
}

/** Giles 2012, "Approximating the erfinv function", table 5 (single precision). */
const central = [
  2.81022636e-8, 3.43273939e-7, -3.5233877e-6, -4.39150654e-6, 0.00021858087, -0.00125372503, -0.00417768164,
  0.246640727, 1.50140941,
];
const tail = [
  -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
  1.00167406, 2.83297682,
];

function erfInverse(x: Tensor): Tensor {
  return result(() => {
    const n = x.node;
    const c = (value: number) => build.constantLike(n, value);
    const w = build.neg(build.log(build.mul(build.sub(c(1), n), build.add(c(1), n))));
    const inner = build.lt(w, c(5));
    const t = build.where(inner, build.sub(w, c(2.5)), build.sub(build.sqrt(w), c(3)));
    const polynomial = central
      .slice(1)
      .reduce(
        (p, _, i) =>
          build.add(build.mul(p, t), build.where(inner, c(central[i + 1] as number), c(tail[i + 1] as number))),
        build.where(inner, c(central[0] as number), c(tail[0] as number)),
      );
    return build.mul(polynomial, n);
  });
}

/** True with probability p. */
export const bernoulli = (k: Key, p: number | Tensor, shape: readonly Dim[], part: Part = {}): Tensor =>
  less(uniform(k, shape, part), p);

/** Whole numbers in low ≤ n < high, i32. The bias of the remainder is below (high − low) / 2³². */
export function integers(k: Key, shape: readonly Dim[], low: number, high: number): Tensor {
  const span = result(() => {
    if (!Number.isInteger(low) || !Number.isInteger(high) || high <= low)
      throw new ArgumentError(`integers: expected low < high, both whole, got ${low} and ${high}`);
    const b = build.random(k.node, zero(), shape);
    return build.mod(b, build.constantLike(b, high - low));
  });
  return add(cast(span, "i32"), low);
}

/** Gumbel noise: added to logits, its largest entry is drawn with the probabilities softmax(logits). */
export function gumbel(k: Key, shape: readonly Dim[]): Tensor {
  const u = uniform(k, shape, { low: 2 ** -24, high: 1 });
  return result(() => build.neg(build.log(build.neg(build.log(u.node)))));
}
