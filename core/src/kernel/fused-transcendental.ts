/** f32 exp, log, tanh and erf for hardware with fused multiply-adds: polynomials take half as many operations. Errors in
 *  units in the last place, as tested: exp and log 1, tanh and erf 2. sin, cos and pow are in `fused-trigonometry.ts` and
 *  `fused-power.ts`. */
import { type Fn, topological } from "../ir/fn.ts";
import { dtypeOf, type Node } from "../ir/node.ts";
import { abs, add, bitcast, div, lt, max, min, mul, neg, or, shl, shr, sub, where } from "../ops/build.ts";
import { define } from "../ops/table.ts";
import { fma, loadMachine, scale } from "../ops/machine.ts";
import { f32, i32, withSignOf } from "./float.ts";
import { fusedPower } from "./fused-power.ts";
import { cosine, sine } from "./fused-trigonometry.ts";
import { expanded, exponentialTerms, logarithmAt, logarithmTerms, parts, tangentTerms } from "./transcendental.ts";

/** The kernel with those functions expanded, and ops that are made of them before.
 *  @param scales  whether the hardware has y · 2ⁿ */
export function expandFused(kernel: Fn, scales = false): Fn {
  loadMachine();
  const made = topological(kernel.results).some((n) => define(n.op).expand);
  const plain = made ? expanded(kernel, (n, src) => define(n.op).expand?.(src[0] as Node, src[1] as Node)) : kernel;
  const scaled = scales ? scale : scaledInHalves;
  return expanded(plain, (n, src) => expansion(n, src, scaled));
}

/** y · 2ⁿ, rounded once, for a whole n in −254 … 254. `shifted` is n and the number that rounds, where that is known. */
export type Scaled = (y: Node, n: Node, shifted?: Node) => Node;

function expansion(n: Node, [x, y]: readonly Node[], scaled: Scaled): Node | undefined {
  if (!x || "tuple" in n.type || dtypeOf(n) !== "f32") return undefined;
  switch (n.op) {
    case "exp":
      return exponential(x, scaled);
    case "log":
      return logarithm(x);
    case "tanh":
      return hyperbolicTangent(x, scaled);
    case "erf":
      return errorFunction(x);
    case "sin":
      return sine(x);
    case "cos":
      return cosine(x);
    case "pow":
      return fusedPower(x, y as Node, scaled);
    default:
      return undefined;
  }
}

/** Horner's rule, the highest coefficient first. */
const polynomial = (x: Node, [first, ...rest]: readonly number[]): Node =>
  rest.reduce<Node>((sum, c) => fma(sum, x, f32(c)), f32(first as number));

const ln2 = Math.fround(Math.LN2);
const ROUND = 1.5 * 2 ** 23;

/** Both biases of 127 are added at once. */
function scaledInHalves(y: Node, n: Node, shifted: Node = add(n, f32(ROUND))): Node {
  const biased = sub(bitcast(shifted, "i32"), i32(0x4b400000 - 254));
  const half = shr(biased, i32(1));
  const power = (e: Node): Node => bitcast(shl(e, i32(23)), "f32");
  return mul(mul(y, power(half)), power(sub(biased, half)));
}

const signBit = (): Node => i32(-(2 ** 31));

/** −|x|. */
const minusSize = (x: Node): Node => bitcast(or(bitcast(x, "i32"), signBit()), "f32");

/** As `exponential` of transcendental.ts, with the same bounds. */
const exponential = (x: Node, scaled: Scaled): Node => {
  const below = notPositive(x);
  const least = max(below ?? x, f32(-176));
  return boundedExponential(below ? least : min(least, f32(89)), scaled);
};

/** Where it is −|v| as `sigmoid` and `softplus` have it, that by its sign bit: whether 0 is +0 or −0 is nothing to the exponential. */
function notPositive(x: Node): Node | undefined {
  if (x.op !== "where") return undefined;
  const [condition, v, minus] = x.src as [Node, Node, Node];
  const isNegative = condition.op === "lt" && condition.src[0] === v && isZero(condition.src[1] as Node);
  if (!isNegative || minus.op !== "neg" || minus.src[0] !== v) return undefined;
  return minusSize(v);
}

const isZero = (n: Node): boolean => n.op === "const" && n.attr.value === 0;

/** Of a number between −176 and 89, or NaN. ln 2 is split where an f32 ends. */
function boundedExponential(x: Node, scaled: Scaled): Node {
  const shifted = fma(x, f32(Math.LOG2E), f32(ROUND));
  const n = sub(shifted, f32(ROUND));
  const r = fma(n, f32(ln2 - Math.LN2), fma(n, f32(-ln2), x));
  const p = polynomial(r, exponentialTerms);
  const one = add(r, f32(1));
  const lost = sub(r, sub(one, f32(1)));
  return scaled(add(one, fma(p, mul(r, r), lost)), n, shifted);
}

/** Source: Cephes `logf` (Moshier 1992). */
function logarithm(x: Node): Node {
  const { e, m } = parts(x);
  const r = sub(m, f32(1));
  const z = mul(r, r);
  const p = polynomial(r, logarithmTerms);
  const small = fma(z, f32(-0.5), fma(mul(p, r), z, mul(e, f32(-0.00021219444005469057))));
  const y = fma(e, f32(0.693359375), add(r, small));
  return logarithmAt(x, y);
}

/** Source: Cephes `tanhf` (Moshier 1992). */
function hyperbolicTangent(x: Node, scaled: Scaled): Node {
  const a = abs(x);
  const z = mul(x, x);
  const p = polynomial(z, tangentTerms);
  const near = fma(mul(p, z), a, a);
  const far = sub(f32(1), div(f32(2), add(boundedExponential(min(add(a, a), f32(89)), scaled), f32(1))));
  return withSignOf(where(lt(a, f32(0.625)), near, far), x);
}

/** 1 − e^y for the logarithm y of erfc |x|: t·(c + …) with t = |x| up to where erf is 1. e^y − 1 = 2ⁿ·p + 2ⁿ − 1 with p = e^r − 1, which for
 *  small numbers, where n is 0, is as exact as y: its first coefficient is in two parts, and so is y. Minimax polynomials of the relative
 *  error, even and odd terms apart, as the chain of operations is what is waited for. */
function errorFunction(x: Node): Node {
  const t = min(abs(x), f32(3.92));
  const s = mul(t, t);
  const even = polynomial(s, [9.256545e-6, 6.3284434e-4, 1.6040659e-4, -1.0277783e-1, 5.4116974e-8]);
  const odd = polynomial(s, [-1.1764358e-4, -1.6670397e-3, 1.9153059e-2, -6.3661939e-1]);
  const rest = fma(odd, t, even);
  const less = mul(t, rest);
  const y = fma(t, f32(-1.1283792), less);
  const lost = add(fma(t, f32(-1.1283792), neg(y)), less);
  const shifted = fma(y, f32(Math.LOG2E), f32(ROUND));
  const r = fma(sub(shifted, f32(ROUND)), f32(-ln2), y);
  const z = mul(r, r);
  const tail = fma(
    polynomial(z, [8.36659595e-3, 1.66665435e-1]),
    r,
    polynomial(z, [1.38825015e-3, 4.16672006e-2, 4.9999997e-1]),
  );
  const p = add(r, fma(z, tail, lost));
  const power = bitcast(add(shl(bitcast(shifted, "i32"), i32(23)), i32(0x3f800000)), "f32");
  return withSignOf(fma(neg(power), p, sub(f32(1), power)), x);
}
