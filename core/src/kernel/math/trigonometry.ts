/** f32 sine and cosine: the argument's distance from the nearest multiple of π/2, then a polynomial. Up to 2⁹ the multiple is taken
 *  off in exact parts (Cody & Waite 1980), beyond it by integer arithmetic with as many digits of 1/2π as it needs (Payne & Hanek
 *  1983). Errors as tested: 2 units in the last place. */
import type { Node } from "../../ir/node.ts";
import { abs, add, and, bitcast, cast, eq, lt, mul, neg, or, round, shl, shr, sub, where } from "../../ops/build.ts";
import { type Double, double, productOf, quickSum } from "./double.ts";
import { f32, i32, polynomial, u32, withSignOf } from "./float.ts";

/** |x| = quadrant · π/2 + rest, the quadrant modulo 4 as an i32. */
interface Reduced {
  readonly quadrant: Node;
  readonly rest: Double;
}

export function sine(x: Node): Node {
  const a = abs(x);
  return finite(a, withSignOf(atQuadrant(reduced(a), 0), x));
}

export function cosine(x: Node): Node {
  const a = abs(x);
  return finite(a, atQuadrant(reduced(a), 1));
}

const finite = (a: Node, y: Node): Node => where(lt(a, f32(Number.POSITIVE_INFINITY)), y, f32(Number.NaN));

/** The sine of rest + (quadrant + shift) · π/2. Polynomials: Cephes `sinf` (Moshier 1992); what the rest has beyond an f32 enters by the
 *  first terms of its own series, and 1 − z/2 keeps what its rounding lost, as in fdlibm's `k_cos.c`. */
function atQuadrant({ quadrant, rest: { hi: r, lo } }: Reduced, shift: 0 | 1): Node {
  const z = mul(r, r);
  const half = mul(z, f32(0.5));
  const cosine = sub(f32(1), half);
  const odd = mul(mul(polynomial(z, [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1]), z), r);
  const sin = add(r, add(odd, mul(lo, cosine)));
  const even = mul(polynomial(z, [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2]), mul(z, z));
  const lost = sub(sub(f32(1), cosine), half);
  const cos = add(cosine, add(lost, sub(even, mul(r, lo))));
  const q = shift === 0 ? quadrant : add(quadrant, i32(shift));
  const isSin = eq(and(q, i32(1)), i32(0));
  const y = where(isSin, sin, cos);
  return where(eq(and(q, i32(2)), i32(0)), y, neg(y));
}

/** From here on the multiple of π/2 has too many bits for exact parts. */
const LARGE = 2 ** 9;

export function reduced(a: Node): Reduced {
  const [near, far] = [nearby(a), distant(a)];
  const isNear = lt(a, f32(LARGE));
  const choose = (n: Node, f: Node): Node => where(isNear, n, f);
  return {
    quadrant: choose(near.quadrant, far.quadrant),
    rest: { hi: choose(near.rest.hi, far.rest.hi), lo: choose(near.rest.lo, far.rest.lo) },
  };
}

/** π/2 in two parts of 15 bits, by which a 9-bit number is multiplied exactly, and two more. */
const halfPi = [1.57073974609375, 5.657970905303955e-5, 9.920881893776823e-10, 5.390302858158119e-15] as const;

function nearby(a: Node): Reduced {
  const n = round(mul(a, f32(2 / Math.PI)));
  const [p0, p1, p2, p3] = halfPi.map((part) => mul(n, f32(part))) as [Node, Node, Node, Node];
  const first = sub(a, p0);
  const second = sub(first, p1);
  const rest = sub(second, p2);
  // What the last two subtractions rounded away, and the last part.
  const lost = add(sub(sub(first, second), p1), sub(sub(second, rest), p2));
  return { quadrant: and(cast(n, "i32"), i32(3)), rest: quickSum(rest, sub(lost, p3)) };
}

/** A word of zeros, then the binary digits of 1/2π. */
const turnDigits = [0, 0x28be60db, 0x9391054a, 0x7f09d5f4, 0x7d4d3770, 0x36d8a566, 0x4f10e410, 0x7f9458ea] as const;

/** a = m · 2^(e − 150) turns by m · frac(2^(e − 150) / 2π). Of the fraction 96 digits are enough: m has 24, the quadrant 2, and no f32
 *  comes closer than some 2⁻³⁰ to a multiple of π/2. */
function distant(a: Node): Reduced {
  const bits = bitcast(a, "u32");
  const m = or(and(bits, u32(0x7fffff)), u32(0x800000));
  // The first digit wanted, counted from the beginning of `turnDigits`.
  const first = sub(cast(shr(bits, u32(23)), "i32"), i32(150 - 32));
  const word = shr(first, i32(5));
  const shift = cast(and(first, i32(31)), "u32");
  const back = sub(u32(32), shift);
  const digits = (j: number): Node =>
    [1, 2, 3, 4].reduce<Node>(
      (chosen, w) => where(eq(word, i32(w)), u32(turnDigits[w + j] as number), chosen),
      u32(turnDigits[j] as number),
    );
  const words = [0, 1, 2, 3].map(digits);
  const fraction = [0, 1, 2].map((j) => or(shl(words[j] as Node, shift), shr(words[j + 1] as Node, back)));
  const [hi, lo] = timesFraction(m, fraction);
  const quadrant = shr(add(hi, u32(2 ** 29)), u32(30));
  const rest = cast(sub(hi, shl(quadrant, u32(30))), "i32");
  // 2³² turns: the word as an f32, and what that rounded away with the word behind.
  const hiTurns = cast(rest, "f32");
  const loTurns = add(cast(sub(rest, cast(hiTurns, "i32")), "f32"), mul(cast(lo, "f32"), f32(2 ** -32)));
  return { quadrant: cast(quadrant, "i32"), rest: productOf({ hi: hiTurns, lo: loTurns }, double(2 ** -31 * Math.PI)) };
}

/** The upper two words of m · f mod 1, where f has three words behind the point, by schoolbook digits of 16 bits. */
function timesFraction(m: Node, f: readonly Node[]): readonly [Node, Node] {
  const low = (x: Node): Node => and(x, u32(0xffff));
  const high = (x: Node): Node => shr(x, u32(16));
  const digits = f.flatMap((w) => [high(w), low(w)]);
  const [m1, m0] = [high(m), low(m)];
  // Place p collects the low halves of products that end there, and the high halves of those one place further.
  const places: Node[][] = digits.map(() => []);
  digits.forEach((d, p) => {
    for (const [factor, at] of [
      [m0, p],
      [m1, p - 1],
    ] as const) {
      const product = mul(d, factor);
      places[at]?.push(low(product));
      places[at - 1]?.push(high(product));
    }
  });
  let carry: Node = u32(0);
  const sums: Node[] = [];
  for (let p = places.length - 1; p >= 0; p--) {
    const sum = (places[p] as Node[]).reduce(add, carry);
    sums[p] = low(sum);
    carry = high(sum);
  }
  const join = (p: number): Node => or(shl(sums[p] as Node, u32(16)), sums[p + 1] as Node);
  return [join(0), join(2)];
}
