/** The special functions in scalars of f32 and f64, written with the ops that every device has. Errors of the f32 ones in units in
 *  the last place, as tested: erfc 3.5, tan 2.5, sinh, asinh, acosh and atanh 2, the others 1.5. The f64 ones are as good as the
 *  engine's exp, log, power, sine and cosine, which they are made of. */
import { dtypeOf, type Node } from "../../ir/node.ts";
import {
  abs,
  add,
  and,
  bitcast,
  cast,
  cos,
  div,
  eq,
  erf,
  exp,
  lt,
  log,
  max,
  min,
  mul,
  neg,
  or,
  pow,
  round,
  scalar,
  sin,
  sqrt,
  sub,
  where,
} from "../../ops/build.ts";
import { double, type Double, exactProduct, halves, productOf, sumOf } from "./double.ts";
import { polynomial as polynomial32, withSignOf } from "./float.ts";
import { longExponential, longLogarithm, powerOfTwo } from "./transcendental.ts";
import { reduced } from "./trigonometry.ts";

const infinity = Number.POSITIVE_INFINITY;
const isSingle = (x: Node): boolean => dtypeOf(x) === "f32";
/** A constant of the dtype of `like`. */
const k = (like: Node, value: number): Node => scalar(isSingle(like) ? Math.fround(value) : value, dtypeOf(like));
const polynomial = (x: Node, [first, ...rest]: readonly number[]): Node =>
  rest.reduce<Node>((sum, c) => add(mul(sum, x), k(x, c)), k(x, first as number));
const half = (x: Node): Node => mul(x, k(x, 0.5));
const square = (x: Node): Node => mul(x, x);
/** An odd function from its values for |x|: also of −0. */
const odd = (x: Node, f: (a: Node) => Node): Node => {
  const a = abs(x);
  const y = f(a);
  if (isSingle(x)) return withSignOf(y, x);
  return where(lt(x, k(x, 0)), neg(y), where(eq(x, k(x, 0)), x, y));
};
const value = (x: Double): Node => add(x.hi, x.lo);

/** 2ⁿ·p + (2ⁿ − 1) with p = e^r − 1, the polynomial of `exponential`; in f64 Kahan's quotient, which is exact to first order in the
 *  error of u = eˣ. */
export function expm1(x: Node): Node {
  const far = sub(exp(x), k(x, 1));
  if (!isSingle(x)) {
    const u = exp(x);
    const near = div(mul(sub(u, k(x, 1)), x), where(eq(u, k(x, 1)), k(x, 1), log(u)));
    return where(lt(abs(x), k(x, 1)), where(eq(u, k(x, 1)), x, near), far);
  }
  const bounded = max(min(x, k(x, 20)), k(x, -20));
  const n = round(mul(bounded, k(x, Math.LOG2E)));
  const r = sub(sub(bounded, mul(n, k(x, 0.693359375))), mul(n, k(x, -0.00021219444005469057)));
  const tail = polynomial32(
    r,
    [1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1],
  );
  const p = add(mul(tail, square(r)), r);
  const power = powerOfTwo(cast(n, "i32"));
  const near = where(eq(n, k(x, 0)), p, add(mul(power, p), sub(power, k(x, 1))));
  return where(eq(x, k(x, 0)), x, where(lt(x, k(x, 17)), near, far));
}

/** log u with u = 1 + x, and what rounding u lost, to first order. */
export function log1p(x: Node): Node {
  const u = add(k(x, 1), x);
  const lost = div(sub(x, sub(u, k(x, 1))), u);
  const plain = or(eq(u, k(x, infinity)), eq(u, k(x, 0)));
  return where(eq(x, k(x, 0)), x, add(log(u), where(plain, k(x, 0), lost)));
}

export const exp2 = (x: Node): Node => {
  if (!isSingle(x)) return pow(k(x, 2), x);
  const bounded = min(max(x, k(x, -155)), k(x, 130));
  const y = longExponential(productOf({ hi: bounded, lo: k(x, 0) }, double(Math.LN2)));
  return where(eq(x, x), y, x);
};

/** The logarithm to a base whose powers have exact ones. */
const logarithmTo =
  (base: 2 | 10) =>
  (x: Node): Node => {
    const scale = 1 / Math.log(base);
    if (isSingle(x)) {
      const y = value(productOf(longLogarithm(x), double(scale)));
      const finite = where(eq(x, k(x, infinity)), x, y);
      return where(lt(k(x, 0), x), finite, log(x));
    }
    const y = mul(log(x), k(x, scale));
    const whole = round(y);
    return where(eq(pow(k(x, base), whole), x), whole, y);
  };
export const log2 = logarithmTo(2);
export const log10 = logarithmTo(10);

/** Source of the polynomial: Cephes `tanf` (Moshier 1992). */
export function tan(x: Node): Node {
  if (!isSingle(x)) return div(sin(x), cos(x));
  const a = abs(x);
  const {
    quadrant,
    rest: { hi: r, lo },
  } = reduced(a);
  const z = square(r);
  const series = polynomial32(
    z,
    [9.38540185543e-3, 3.11992232697e-3, 2.44301354525e-2, 5.34112807005e-2, 1.33387994085e-1, 3.33331568548e-1],
  );
  // The slope of the tangent is 1 + tan², of which 1 + z is enough for so little.
  const t = add(r, add(mul(mul(series, z), r), mul(lo, add(k(x, 1), z))));
  const isOdd = eq(and(quadrant, scalar(1, "i32")), scalar(1, "i32"));
  const y = withSignOf(where(isOdd, neg(div(k(x, 1), t)), t), x);
  return where(lt(a, k(x, infinity)), y, k(x, Number.NaN));
}

/** arctan of n / d for n, d ≥ 0: of the quotient's distance from the nearest of 0, ½, 1, 1½ and ∞. Source: fdlibm `atan` (Sun 1993),
 *  and FreeBSD's `atanf`, there with the quotient at hand. */
function arctangent(n: Node, d: Node): Node {
  const below = [7 / 16, 11 / 16, 19 / 16, 39 / 16].map((limit) => lt(n, mul(d, k(d, limit)))) as [
    Node,
    Node,
    Node,
    Node,
  ];
  const choose = (values: readonly [number, number, number, number, number]): Node =>
    below.reduceRight<Node>((rest, is, i) => where(is, k(d, values[i] as number), rest), k(d, values[4]));
  const b = choose([0, 0.5, 1, 1.5, 0]);
  const near = below[0];
  const over = where(below[3], where(near, n, sub(n, mul(b, d))), neg(d));
  const under = where(below[3], where(near, d, add(d, mul(b, n))), n);
  const t = div(over, under);
  const z = square(t);
  const series = polynomial(
    z,
    isSingle(d)
      ? [6.1687607318e-2, -1.0648017377e-1, 1.4253635705e-1, -1.9999158382e-1, 3.3333328366e-1]
      : [
          1.62858201153657823623e-2, -3.6531572744216915527e-2, 4.97687799461593236017e-2, -5.83357013379057348645e-2,
          6.66107313738753120669e-2, -7.69187620504482999495e-2, 9.09088713343650656196e-2, -1.1111110405462355788e-1,
          1.42857142725034663711e-1, -1.99999999998764832476e-1, 3.33333333333329318027e-1,
        ],
  );
  const angles = [0, Math.atan(0.5), Math.PI / 4, Math.atan(1.5), Math.PI / 2] as const;
  const rounded = isSingle(d) ? angles.map(Math.fround) : angles;
  // What the angles lose when they are rounded; of f64 from fdlibm.
  const lost = isSingle(d)
    ? angles.map((angle, i) => angle - (rounded[i] as number))
    : [
        0, 2.26987774529616870924e-17, 3.06161699786838301793e-17, 1.39033110312309984516e-17,
        6.12323399573676603587e-17,
      ];
  type Five = readonly [number, number, number, number, number];
  const [hi, lo] = [choose(rounded as unknown as Five), choose(lost as unknown as Five)];
  return sub(hi, sub(sub(mul(t, mul(z, series)), lo), t));
}

export const atan = (x: Node): Node => odd(x, (a) => arctangent(a, k(x, 1)));

/** Both scaled into the middle of the range, then the quadrant; C's rules for zeros and infinities. */
export function atan2(y: Node, x: Node): Node {
  const [n, d] = [abs(y), abs(x)];
  const largest = max(n, d);
  const far = isSingle(x) ? 100 : 900;
  const scale = where(
    lt(k(x, 2 ** far), largest),
    k(x, 2 ** -30),
    where(lt(largest, k(x, 2 ** -far)), k(x, 2 ** 60), k(x, 1)),
  );
  const same = where(eq(n, k(x, 0)), k(x, 0), k(x, Math.PI / 4));
  const angle = where(eq(n, d), same, arctangent(mul(n, scale), mul(d, scale)));
  const pi = isSingle(x) ? Math.fround(Math.PI) : Math.PI;
  const piRest = isSingle(x) ? Math.PI - pi : 1.2246467991473532e-16;
  const back = sub(k(x, pi), sub(angle, k(x, piRest)));
  const isLeft = (z: Node): Node =>
    isSingle(z) ? lt(bitcast(z, "i32"), scalar(0, "i32")) : or(lt(z, k(z, 0)), lt(div(k(z, 1), z), k(z, 0)));
  const turned = where(isLeft(x), back, angle);
  return where(isLeft(y), neg(turned), turned);
}

/** arcsin a = a + a·p for a² = z ≤ ¼, in f32. Source: Cephes `asinf`. */
const arcsineSeries = (z: Node): Node =>
  mul(polynomial32(z, [4.2163199048e-2, 2.4181311049e-2, 4.5470025998e-2, 7.4953002686e-2, 1.6666752422e-1]), z);
const arcsineNear = (a: Node, z: Node): Node => add(mul(a, arcsineSeries(z)), a);
const arcsineByTangent = (x: Node): Node => div(x, sqrt(mul(sub(k(x, 1), x), add(k(x, 1), x))));

/** Beyond ½ by π/2 − 2 arcsin √((1 − a) / 2), the root in two parts as in fdlibm `asin`. */
export const asin = (x: Node): Node => {
  if (!isSingle(x)) return atan(arcsineByTangent(x));
  return odd(x, (a) => {
    const z = half(sub(k(x, 1), a));
    const root = sqrt(z);
    const head = halves(root).hi;
    const rest = div(sub(z, square(head)), max(add(root, head), k(x, 2 ** -60)));
    const tail = sub(mul(add(root, root), arcsineSeries(z)), sub(k(x, halfPiRest), add(rest, rest)));
    const far = sub(k(x, Math.PI / 4), sub(tail, sub(k(x, Math.PI / 4), add(head, head))));
    return where(lt(k(x, 0.5), a), far, arcsineNear(a, square(a)));
  });
};
const halfPiRest = Math.PI / 2 - Math.fround(Math.PI / 2);

export const acos = (x: Node): Node => {
  const a = abs(x);
  const z = half(sub(k(x, 1), a));
  if (!isSingle(x)) {
    const y = atan(sqrt(div(sub(k(x, 1), x), add(k(x, 1), x))));
    return add(y, y);
  }
  const root = sqrt(z);
  const y = arcsineNear(root, z);
  const far = add(y, y);
  const near = withSignOf(arcsineNear(a, square(a)), x);
  const middle = sub(k(x, Math.PI / 2), sub(near, k(x, halfPiRest)));
  const left = sub(k(x, Math.PI), sub(far, k(x, 2 * halfPiRest)));
  return where(lt(a, k(x, 0.5)), middle, where(lt(x, k(x, 0)), left, far));
};

/** eˣ / 2, which overflows only where the hyperbolic functions do. */
function halfExponential(a: Node): Node {
  if (!isSingle(a)) return mul(exp(sub(a, k(a, 1))), k(a, Math.E / 2));
  const y = longExponential(sumOf({ hi: min(a, k(a, 200)), lo: k(a, 0) }, double(-Math.LN2)));
  return where(eq(a, a), y, a);
}

export const sinh = (x: Node): Node =>
  odd(x, (a) => {
    const e = expm1(a);
    const near = half(add(e, div(e, add(e, k(x, 1)))));
    const w = halfExponential(a);
    return where(lt(a, k(x, 1)), near, sub(w, div(k(x, 0.25), w)));
  });
export const cosh = (x: Node): Node => {
  const w = halfExponential(abs(x));
  return add(w, div(k(x, 0.25), w));
};

/** From here on 1 beside x² is lost. */
const LARGE = 2 ** 13;
const twiceLogarithm = (a: Node): Node => add(log(a), k(a, Math.LN2));
const large = (like: Node): Node => k(like, isSingle(like) ? LARGE : LARGE ** 3);

export const asinh = (x: Node): Node =>
  odd(x, (a) => {
    const s = square(a);
    const y = log1p(add(a, div(s, add(k(x, 1), sqrt(add(s, k(x, 1)))))));
    return where(lt(a, large(x)), y, twiceLogarithm(a));
  });
export const acosh = (x: Node): Node => {
  const t = sub(x, k(x, 1));
  const y = log1p(add(t, sqrt(mul(t, add(x, k(x, 1))))));
  return where(lt(x, k(x, 1)), k(x, Number.NaN), where(lt(x, large(x)), y, twiceLogarithm(x)));
};
export const atanh = (x: Node): Node => odd(x, (a) => half(log1p(div(add(a, a), sub(k(x, 1), a)))));

/** erfc by (1 + 2a) · e^(a²) · erfc a, a smooth function of q = (a − 2) / (a + 2).
 *  Source: Shepherd & Laframboise 1981, "Chebyshev approximation of (1 + 2x) exp(x²) erfc x"; coefficients by N. Juffa. */
export function erfc(x: Node): Node {
  if (!isSingle(x)) return erfcDouble(x);
  const a = min(abs(x), k(x, 11));
  const q = div(sub(a, k(x, 2)), add(a, k(x, 2)));
  const p = polynomial32(
    q,
    [
      -4.01139259e-4, -1.2307521e-3, 1.31355342e-3, 8.63227434e-3, -8.05991981e-3, -5.42046614e-2, 1.64055392e-1,
      -1.66031361e-1, -9.27639827e-2, 2.76978403e-1,
    ],
  );
  const scaled = div(add(p, k(x, 1)), add(add(a, a), k(x, 1)));
  const s = exactProduct(a, a);
  const y = mul(scaled, longExponential({ hi: neg(s.hi), lo: neg(s.lo) }));
  const near = sub(k(x, 1), erf(x));
  const far = where(lt(x, k(x, 0)), sub(k(x, 2), y), where(eq(x, x), y, x));
  return where(lt(a, k(x, 0.25)), near, far);
}

/** Source: fdlibm `erfc` (Sun 1993). */
function erfcDouble(x: Node): Node {
  const a = min(abs(x), k(x, 28));
  const ratio = (z: Node, over: readonly number[], under: readonly number[]): Node =>
    div(polynomial(z, over), add(mul(polynomial(z, under), z), k(x, 1)));
  const z = square(x);
  const small = mul(
    x,
    ratio(
      z,
      [
        -2.37630166566501626084e-5, -5.77027029648944159157e-3, -2.84817495755985104766e-2, -3.2504210724700149937e-1,
        1.28379167095512558561e-1,
      ],
      [
        -3.9602282787753681232e-6, 1.32494738004321644526e-4, 5.08130628187576562776e-3, 6.50222499887672944485e-2,
        3.97917223959155352819e-1,
      ],
    ),
  );
  // 1 − (x + small), from ½ where that is more exact.
  const nearZero = where(lt(x, k(x, 0.25)), sub(k(x, 1), add(x, small)), sub(k(x, 0.5), add(sub(x, k(x, 0.5)), small)));
  const erx = 8.45062911510467529297e-1;
  const s = sub(a, k(x, 1));
  const middle = ratio(
    s,
    [
      -2.166375594868790843e-3, 3.54783043256182359371e-2, -1.10894694282396677476e-1, 3.18346619901161753674e-1,
      -3.72207876035701323847e-1, 4.14856118683748331666e-1, -2.36211856075265944077e-3,
    ],
    [
      1.1984499846799107417e-2, 1.36370839120290507362e-2, 1.26171219808761642112e-1, 7.18286544141962662868e-2,
      5.40397917702171048937e-1, 1.06420880400844228286e-1,
    ],
  );
  const nearOne = where(lt(x, k(x, 0)), add(k(x, 1 + erx), middle), sub(k(x, 1 - erx), middle));
  const r = div(k(x, 1), square(a));
  const lower = ratio(
    r,
    [
      -9.81432934416914548592, -8.12874355063065934246e1, -1.84605092906711035994e2, -1.62396669462573470355e2,
      -6.23753324503260060396e1, -1.05586262253232909814e1, -6.93858572707181764372e-1, -9.86494403484714822705e-3,
    ],
    [
      -6.04244152148580987438e-2, 6.57024977031928170135, 1.08635005541779435134e2, 4.29008140027567833386e2,
      6.45387271733267880336e2, 4.34565877475229228821e2, 1.376577541435190426e2, 1.96512716674392571292e1,
    ],
  );
  const upper = ratio(
    r,
    [
      -4.83519191608651397019e2, -1.02509513161107724954e3, -6.37566443368389627722e2, -1.60636384855821916062e2,
      -1.77579549177547519889e1, -7.99283237680523006574e-1, -9.86494292470009928597e-3,
    ],
    [
      -2.24409524465858183362e1, 4.74528541206955367215e2, 2.55305040643316442583e3, 3.19985821950859553908e3,
      1.53672958608443695994e3, 3.25792512996573918826e2, 3.03380607434824582924e1,
    ],
  );
  // a² in two parts, the first exact.
  const head = cast(cast(a, "f32"), "f64");
  const rest = add(mul(sub(head, a), add(head, a)), where(lt(a, k(x, 1 / 0.35)), lower, upper));
  const tail = div(mul(exp(sub(neg(square(head)), k(x, 0.5625))), exp(rest)), a);
  const far = where(lt(x, k(x, 0)), sub(k(x, 2), tail), tail);
  const y = where(lt(a, k(x, 0.84375)), nearZero, where(lt(a, k(x, 1.25)), nearOne, far));
  return where(eq(x, x), y, x);
}
