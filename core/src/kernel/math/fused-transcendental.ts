/** f32 exp, log, tanh and erf for hardware with fused multiply-adds: polynomials take half as many operations. Errors in
 *  units in the last place, as tested: exp and log 1, tanh and erf 2. sin, cos and pow are in `fused-trigonometry.ts` and
 *  `fused-power.ts`. */
import { type Fn, topological } from "../../ir/fn.ts";
import { dtypeOf, type Node } from "../../ir/node.ts";
import { abs, add, bitcast, div, lt, max, min, mul, neg, or, shl, shr, sub, where } from "../../ops/build.ts";
import { define } from "../../ops/table.ts";
import { fma, loadMachine, scale } from "../../ops/machine.ts";
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

/** 1 − (1 − u)⁴ for the fourth root 1 − u of erfc |x|: u = t·(c + t·…) with t = |x| up to where erf is 1; c is in two parts. Squared twice
 *  as 1 − u ↦ 1 − (2u − u²); the first time c·t, most of a small u, is kept apart, so that its roundings are not squared too. A minimax polynomial
 *  of the error in units of the result, even and odd terms apart, as the chain of operations is what is waited for; its highest term is moved
 *  so far that the end is 1, as it is of infinity. */
function errorFunction(x: Node): Node {
  const t = min(abs(x), f32(4.03));
  const s = mul(t, t);
  const even = polynomial(s, [-2.78395146e-6, -1.3060162e-4, 1.9735843e-3, -1.8610565e-2, 1.1936651e-1]);
  const odd = polynomial(s, [3.6286645e-5, -2.2185214e-4, 1.1910222e-3, -1.54659115e-2]);
  const rest = mul(t, fma(t, fma(odd, t, even), f32(1.1120653e-8)));
  const c = 0.28209478;
  const root = fma(t, f32(c), rest);
  const square = fma(t, f32(2 * c), fma(neg(root), root, add(rest, rest)));
  return withSignOf(fma(neg(square), square, add(square, square)), x);
}
