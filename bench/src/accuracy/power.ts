/** Pairs for powers, half of which have a result between the least and the largest f32, and their comparison. */
import { jit, pow, type Tensor, tensor } from "sinan";
import { none, type Worst } from "./sweep.ts";
import { ulpError } from "./ulp.ts";

type Draw = () => number;

/** A 32-bit word. Source: Marsaglia 2003, "Xorshift RNGs". */
export function words(seed: number): Draw {
  let x = seed | 0 || 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

const view = new DataView(new ArrayBuffer(4));
const float = (bits: number): number => {
  view.setUint32(0, bits);
  return view.getFloat32(0);
};

/** A source of pairs: any base with any exponent; positive bases with exponents whose results are finite, many of them near 1,
 *  where errors of the logarithm are multiplied most; negative bases with integers. */
export function powPairs(seed: number): () => readonly [number, number] {
  const draw = words(seed);
  const unit = (): number => draw() / 2 ** 32;
  return () => {
    switch (draw() >>> 30) {
      case 0:
        return [float(draw()), float(draw())];
      case 1: {
        const x = Math.fround(-200 * unit());
        return [x, Math.round((2 * unit() - 1) * 60)];
      }
      case 2: {
        const x = Math.fround(1 + (2 * unit() - 1) * 2 ** -Math.floor(20 * unit()));
        return [x, exponentFor(x, 2 * unit() - 1)];
      }
      default: {
        const x = float(draw() & 0x7fffffff);
        return [x, exponentFor(x, 2 * unit() - 1)];
      }
    }
  };
}

/** An exponent that takes x to 2^(150 r). */
const exponentFor = (x: number, r: number): number => Math.fround((150 * r) / Math.log2(x));

const chunk = 1 << 18;

export async function worstPower(pair: () => readonly [number, number], count: number): Promise<Worst> {
  const run = jit((x: Tensor, y: Tensor) => pow(x, y), { name: "power" });
  const [xs, ys] = [new Float32Array(chunk), new Float32Array(chunk)];
  let found = none;
  for (let done = 0; done < count; done += chunk) {
    for (let i = 0; i < chunk; i++) [xs[i], ys[i]] = pair();
    const got = await run(tensor(xs), tensor(ys)).data();
    for (let i = 0; i < chunk; i++) {
      const [x, y] = [xs[i] as number, ys[i] as number];
      const error = ulpError(Number(got[i]), power(x, y));
      if (error > found.error) found = { error, at: [x, y] };
    }
  }
  return found;
}

/** C's rules: 1 to any power is 1, and so is −1 to an infinite one. */
const power = (x: number, y: number): number =>
  x === 1 || (x === -1 && Math.abs(y) === Number.POSITIVE_INFINITY) ? 1 : x ** y;
