/** f32 exp, log, tanh and erf for hardware with fused multiply-adds: polynomials take half as many operations. Errors in
 *  units in the last place, as tested: exp and log 1, tanh and erf 2. The other functions are those of `transcendental.ts`. */
import { type Fn, topological } from "../ir/fn.ts";
import { dtypeOf, type Node } from "../ir/node.ts";
import { within } from "../ir/scope.ts";
import { abs, add, bitcast, div, eq, lt, max, min, mul, neg, shl, shr, sub, where } from "../ops/build.ts";
import { fma, loadFma } from "../ops/fma.ts";
import { define } from "../ops/table.ts";
import { f32, i32, withSignOf } from "./float.ts";
import { kernelNode, makeNest, replaceNests } from "./nests.ts";
import { substitute } from "./substitute.ts";
import { parts } from "./transcendental.ts";

/** The kernel with those functions expanded, and ops that are made of them before. */
export function expandFused(kernel: Fn): Fn {
  loadFma();
  const made = topological(kernel.results).some((n) => define(n.op).expand);
  const plain = made ? replaced(kernel, (n, src) => define(n.op).expand?.(src[0] as Node, src[1] as Node)) : kernel;
  return replaced(plain, expansion);
}

function replaced(kernel: Fn, node: (n: Node, src: readonly Node[]) => Node | undefined): Fn {
  return within(kernelNode(kernel).scope, () =>
    replaceNests(kernel, (nest) => [makeNest(substitute(nest.src, { range: () => undefined, node }), nest.attr.order)]),
  );
}

function expansion(n: Node, [x]: readonly Node[]): Node | undefined {
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
    default:
      return undefined;
  }
}

const infinity = Number.POSITIVE_INFINITY;

/** Horner's rule, the highest coefficient first. */
const polynomial = (x: Node, [first, ...rest]: readonly number[]): Node =>
  rest.reduce<Node>((sum, c) => fma(sum, x, f32(c)), f32(first as number));

const ln2 = Math.fround(Math.LN2);

/** As `exponential` of transcendental.ts, with the same bounds; ln 2 is split where an f32 ends. */
function exponential(x: Node): Node {
  const bounded = min(max(x, f32(-176)), f32(89));
  const shifted = fma(bounded, f32(Math.LOG2E), f32(1.5 * 2 ** 23));
  const n = sub(shifted, f32(1.5 * 2 ** 23));
  const r = fma(n, f32(ln2 - Math.LN2), fma(n, f32(-ln2), bounded));
  const p = polynomial(
    r,
    [1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1],
  );
  const one = add(r, f32(1));
  const lost = sub(r, sub(one, f32(1)));
  const y = add(one, fma(p, mul(r, r), lost));
  const biased = sub(bitcast(shifted, "i32"), i32(0x4b400000 - 254));
  const half = shr(biased, i32(1));
  const power = (e: Node): Node => bitcast(shl(e, i32(23)), "f32");
  return mul(mul(y, power(half)), power(sub(biased, half)));
}

/** Source: Cephes `logf` (Moshier 1992). */
function logarithm(x: Node): Node {
  const { e, m } = parts(x);
  const r = sub(m, f32(1));
  const z = mul(r, r);
  const p = polynomial(
    r,
    [
      7.0376836292e-2, -1.151461031e-1, 1.167699874e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
      2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
    ],
  );
  const small = fma(z, f32(-0.5), fma(mul(p, r), z, mul(e, f32(-0.00021219444005469057))));
  const y = fma(e, f32(0.693359375), add(r, small));
  const positive = where(eq(x, f32(infinity)), x, y);
  return where(lt(f32(0), x), positive, where(eq(x, f32(0)), f32(-infinity), f32(Number.NaN)));
}

/** Source: Cephes `tanhf` (Moshier 1992). */
function hyperbolicTangent(x: Node): Node {
  const a = abs(x);
  const z = mul(x, x);
  const p = polynomial(
    z,
    [-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1],
  );
  const near = fma(mul(p, z), a, a);
  const far = sub(f32(1), div(f32(2), add(exponential(add(a, a)), f32(1))));
  return withSignOf(where(lt(a, f32(0.625)), near, far), x);
}

/** Source: N. Juffa's single-precision erf (2015). */
function errorFunction(x: Node): Node {
  const a = abs(x);
  const s = mul(a, a);
  const p = polynomial(
    s,
    [-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1],
  );
  const near = fma(p, a, a);
  const t = min(a, f32(4));
  const q = polynomial(
    t,
    [-1.7285347e-5, 3.83197126e-4, -3.88396438e-3, 2.42546219e-2, -1.06777877e-1, -6.34846687e-1, -1.28717512e-1],
  );
  const far = sub(f32(1), exponential(neg(fma(neg(q), t, t))));
  return withSignOf(where(lt(a, f32(0.927734375)), near, far), x);
}
