/** f32 exp, log, tanh, erf and pow as sums and products of scalars, so that every renderer and every lane of a vector computes
 *  the same bits. Errors in units in the last place, as tested: exp 1, log 1, tanh 2, erf 2, pow 2; sin and cos are in trigonometry.ts.
 *  There is no fused multiply-add at this level: where a product must be exact, an operand is split. */
import { type Fn, topological } from "../../ir/fn.ts";
import { dtypeOf, type Node } from "../../ir/node.ts";
import { within } from "../../ir/scope.ts";
import {
  abs,
  add,
  and,
  bitcast,
  cast,
  div,
  eq,
  floor,
  lt,
  max,
  min,
  mul,
  neg,
  or,
  round,
  scalar,
  shl,
  shr,
  sub,
  where,
  xor,
} from "../../ops/build.ts";
import { define } from "../../ops/table.ts";
import { type Double, double, exactProduct, exactSum, productOf, quickSum, sumOf } from "./double.ts";
import { f32, i32, polynomial, withSignOf } from "./float.ts";
import { kernelNode, makeNest, replaceNests } from "../nests.ts";
import { substitute } from "../substitute.ts";
import { cosine, sine } from "./trigonometry.ts";

/** The kernel with every f32 transcendental op expanded, and ops that are made of others in f64 too. The f64 ones of this
 *  file stay. */
export function expandTranscendentals(kernel: Fn): Fn {
  const made = topological(kernel.results).some((n) => define(n.op).expand);
  return expanded(
    made ? expanded(kernel, (n, src) => define(n.op).expand?.(src[0] as Node, src[1] as Node)) : kernel,
    expansion,
  );
}

/** The kernel with those of its ops expanded for which there is something. */
export function expanded(kernel: Fn, node: (n: Node, src: readonly Node[]) => Node | undefined): Fn {
  return within(kernelNode(kernel).scope, () =>
    replaceNests(kernel, (nest) => [makeNest(substitute(nest.src, { range: () => undefined, node }), nest.attr.order)]),
  );
}

function expansion(n: Node, [x, y]: readonly Node[]): Node | undefined {
  if (!x || "tuple" in n.type || dtypeOf(n) !== "f32") return undefined;
  switch (n.op) {
    case "exp":
      return exponential(x);
    case "log":
      return logarithm(x);
    case "tanh":
      return hyperbolicTangent(x);
    case "erf":
      return errorFunction(x);
    case "sin":
      return sine(x);
    case "cos":
      return cosine(x);
    case "pow":
      return power(x, y as Node);
    default:
      return undefined;
  }
}

const infinity = Number.POSITIVE_INFINITY;

/** Of polynomials on a small interval, the highest first: with fused multiply-adds they are the same. */
export const exponentialTerms = [
  1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
] as const;
export const logarithmTerms = [
  7.0376836292e-2, -1.151461031e-1, 1.167699874e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
  2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
] as const;
export const tangentTerms = [
  -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1,
] as const;
export const errorTerms = [
  -5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1,
] as const;

/** 2ⁿ for an i32 in −126 … 127. */
export const powerOfTwo = (n: Node): Node => bitcast(shl(add(n, i32(127)), i32(23)), "f32");

/** y · 2ⁿ, rounded once, for n in −252 … 254. */
function scaleBy(y: Node, n: Node): Node {
  const half = shr(n, i32(1));
  return mul(mul(y, powerOfTwo(half)), powerOfTwo(sub(n, half)));
}

/** Source: Cephes `expf` (Moshier 1992). eˣ = 2ⁿ · e^r with |r| ≤ ln 2 / 2; ln 2 is split so that n times its first part is exact.
 *  The result is 0 from −104 on. The bound lies where n is −254 and both factors 2⁻¹²⁷ come out as 0: a product that underflows costs a
 *  processor some hundred cycles, and masked scores are −∞ in great numbers. */
function exponential(x: Node): Node {
  const bounded = min(max(x, f32(-176)), f32(89));
  // Beyond 2²³ the last bit of an f32 counts ones: adding 1.5 · 2²³ rounds, and leaves n in the bits.
  const shifted = add(mul(bounded, f32(Math.LOG2E)), f32(1.5 * 2 ** 23));
  const n = sub(shifted, f32(1.5 * 2 ** 23));
  const r = sub(sub(bounded, mul(n, f32(0.693359375))), mul(n, f32(-0.00021219444005469057)));
  const p = polynomial(r, exponentialTerms);
  // 1 + r with what its rounding lost: sigmoid doubles the error where eˣ lies just above a power of two.
  const one = add(r, f32(1));
  const lost = sub(r, sub(one, f32(1)));
  const y = add(one, add(lost, mul(p, mul(r, r))));
  // y · 2ⁿ as scaleBy has it, both biases of 127 added at once.
  const biased = sub(bitcast(shifted, "i32"), i32(0x4b400000 - 254));
  const half = shr(biased, i32(1));
  const power = (e: Node): Node => bitcast(shl(e, i32(23)), "f32");
  return mul(mul(y, power(half)), power(sub(biased, half)));
}

/** Positive x = 2ᵉ · m with √½ ≤ m < √2; e as f32. Subnormal numbers are scaled up first. */
export function parts(x: Node): { readonly e: Node; readonly m: Node } {
  const small = lt(x, f32(2 ** -126));
  const normal = where(small, mul(x, f32(2 ** 24)), x);
  const root = 0x3f3504f3;
  const bits = sub(bitcast(normal, "i32"), i32(root));
  const e = sub(shr(bits, i32(23)), where(small, i32(24), i32(0)));
  return { e: cast(e, "f32"), m: bitcast(add(and(bits, i32(0x7fffff)), i32(root)), "f32") };
}

/** Source: Cephes `logf` (Moshier 1992). */
function logarithm(x: Node): Node {
  const { e, m } = parts(x);
  const r = sub(m, f32(1));
  const z = mul(r, r);
  const p = polynomial(r, logarithmTerms);
  const small = sub(add(mul(mul(p, r), z), mul(e, f32(-0.00021219444005469057))), mul(z, f32(0.5)));
  const y = add(add(r, small), mul(e, f32(0.693359375)));
  return logarithmAt(x, y);
}

/** y, where x is a positive number, and what the logarithm is otherwise. */
export function logarithmAt(x: Node, y: Node): Node {
  const positive = where(eq(x, f32(infinity)), x, y);
  return where(lt(f32(0), x), positive, where(eq(x, f32(0)), f32(-infinity), f32(Number.NaN)));
}

/** Source: Cephes `tanhf` (Moshier 1992). */
function hyperbolicTangent(x: Node): Node {
  const a = abs(x);
  const z = mul(x, x);
  const p = polynomial(z, tangentTerms);
  const near = add(mul(mul(p, z), a), a);
  const far = sub(f32(1), div(f32(2), add(exponential(add(a, a)), f32(1))));
  return withSignOf(where(lt(a, f32(0.625)), near, far), x);
}

/** Near 0 an odd polynomial, beyond 475/512 one minus the exponential of another. From 4 on the result is ±1.
 *  Source: N. Juffa's single-precision erf (2015). */
function errorFunction(x: Node): Node {
  const a = abs(x);
  const s = mul(a, a);
  const p = polynomial(s, errorTerms);
  const near = add(mul(p, a), a);
  const t = min(a, f32(4));
  const q = polynomial(
    t,
    [-1.7285347e-5, 3.83197126e-4, -3.88396438e-3, 2.42546219e-2, -1.06777877e-1, -6.34846687e-1, -1.28717512e-1],
  );
  const far = sub(f32(1), exponential(sub(mul(q, t), t)));
  return withSignOf(where(lt(a, f32(0.927734375)), near, far), x);
}

/** a / b for an f32 b given exactly. */
function quotientOf(a: Double, b: Double): Double {
  const q = div(a.hi, b.hi);
  const p = exactProduct(q, b.hi);
  const rest = add(sub(sub(a.hi, p.hi), p.lo), sub(a.lo, mul(q, b.lo)));
  return quickSum(q, div(rest, b.hi));
}

/** ln x of a positive x with some 40 bits: ln m = 2 artanh((m − 1) / (m + 1)).
 *  Source: SLEEF `logkf` (Shibata & Petrogalli 2020). */
export function longLogarithm(x: Node): Double {
  const { e, m } = parts(x);
  const ratio = quotientOf({ hi: sub(m, f32(1)), lo: f32(0) }, exactSum(m, f32(1)));
  const square = productOf(ratio, ratio);
  const tail = polynomial(square.hi, [0.2403203547000885, 0.2851126790046692, 0.4000079929828644]);
  const third: Double = { hi: f32(0.6666666269302368), lo: f32(3.69183861259614332084311e-9) };
  const series = productOf(productOf(square, ratio), sumOf(third, exactProduct(square.hi, tail)));
  const twice: Double = { hi: add(ratio.hi, ratio.hi), lo: add(ratio.lo, ratio.lo) };
  return sumOf(sumOf(productOf({ hi: e, lo: f32(0) }, double(Math.LN2)), twice), series);
}

/** eˣ of a double. Source: SLEEF `expkf`. */
export function longExponential(x: Double): Node {
  const hi = min(max(x.hi, f32(-110)), f32(100));
  const lo = where(eq(hi, x.hi), x.lo, f32(0));
  const n = round(mul(add(hi, lo), f32(Math.LOG2E)));
  const first = exactSum(hi, mul(n, f32(-0.693145751953125)));
  const r = quickSum(first.hi, add(add(first.lo, lo), mul(n, f32(-1.428606765330187045e-6))));
  const p = polynomial(
    r.hi,
    [0.0013632464688271284, 0.00836596917361021, 0.04167108237743378, 0.16666552424430847, 0.49999985098838806],
  );
  const rest = add(r.lo, mul(mul(r.hi, r.hi), p));
  const one = exactSum(f32(1), r.hi);
  return scaleBy(add(one.hi, add(one.lo, rest)), cast(n, "i32"));
}

/** xʸ = e^(y ln |x|), the logarithm and the product in doubles; C's rules for zeros, infinities and signs.
 *  Source: SLEEF `xpowf`.
 *  @param ofSize  |x|ʸ, where that is known, but for zeros, infinities and NaN */
export function power(x: Node, y: Node, ofSize?: Node): Node {
  const a = abs(x);
  const zero = f32(0);
  const one = f32(1);
  // A y beyond this decides between 0, 1 and infinity alone, and its product would overflow.
  const exponent = min(max(y, f32(-(2 ** 34))), f32(2 ** 34));
  const log = longLogarithm(a);
  const product = productOf(log, { hi: exponent, lo: zero });
  const finite = ofSize ?? longExponential(product);
  const falls = lt(y, zero);
  const size = where(
    eq(a, zero),
    where(falls, f32(infinity), zero),
    where(eq(a, f32(infinity)), where(falls, zero, f32(infinity)), finite),
  );
  const integer = eq(floor(y), y);
  const half = mul(y, f32(0.5));
  const odd = and(integer, xor(eq(floor(half), half), scalar(1, "bool")));
  const negative = lt(bitcast(x, "i32"), i32(0));
  const signed = where(and(negative, odd), neg(size), size);
  const real = where(
    and(and(lt(x, zero), lt(f32(-infinity), x)), xor(integer, scalar(1, "bool"))),
    f32(Number.NaN),
    signed,
  );
  const isNumber = and(eq(x, x), eq(y, y));
  return where(or(eq(y, zero), eq(x, one)), one, where(isNumber, real, f32(Number.NaN)));
}
