/** Compares a function with its reference over ranges of f32, by their bits, or over given arguments. */
import { jit, type Tensor, tensor } from "sinan";
import type { Swept } from "./functions.ts";
import { ulpError } from "./ulp.ts";

/** The largest error found, in ulp, and where. */
export interface Worst {
  readonly error: number;
  readonly at: readonly number[];
}

export const worse = (a: Worst, b: Worst): Worst => (b.error > a.error ? b : a);
export const none: Worst = { error: 0, at: [] };

/** f32 at a time: the work of a few milliseconds. */
const chunk = 1 << 20;
const signBit = 0x80000000;

/** Compares at these arguments. */
export const compareAt = async ({ ours, exact }: Swept, xs: Float32Array): Promise<Worst> =>
  compare(await values(ours, xs), xs, exact);

/** Compares at the f32 whose bits are from `begin` up to `end`, both multiples of 2²⁰. A symmetric function is compared at those without a
 *  sign, and its results at the others with those. */
export function sweeper({ ours, exact, symmetry }: Swept): (begin: number, end: number) => Promise<Worst> {
  const run = jit((x: Tensor) => ours(x), { name: "sweep" });
  const bits = new Uint32Array(chunk);
  const xs = new Float32Array(bits.buffer);
  const at = async (begin: number): Promise<Float32Array> => {
    for (let i = 0; i < chunk; i++) bits[i] = begin + i;
    return values(run, xs);
  };
  return async (begin, end) => {
    let found = none;
    for (let from = begin; from < end; from += chunk) {
      if (symmetry && from >= signBit) continue;
      const ys = await at(from);
      found = worse(found, compare(ys, xs, exact));
      if (symmetry) found = worse(found, mirror(ys, await at(from + signBit), symmetry === "odd" ? signBit : 0, xs));
    }
    return found;
  };
}

async function values(run: (x: Tensor) => Tensor, xs: Float32Array): Promise<Float32Array> {
  const x = tensor(xs);
  const y = run(x);
  const data = (await y.data()) as Float32Array;
  x.dispose();
  y.dispose();
  return data;
}

function compare(ys: Float32Array, xs: Float32Array, exact: (x: number) => number): Worst {
  let found = none;
  for (let i = 0; i < ys.length; i++) {
    const [y, e] = [ys[i] as number, exact(xs[i] as number)];
    // The nearest f32 is within half an ulp: measured only until that is known.
    if (Math.fround(e) === y && found.error >= 0.5) continue;
    const error = ulpError(y, e);
    if (error > found.error) found = { error, at: [xs[i] as number] };
  }
  return found;
}

/** Infinitely wrong where a result for −x is not the one for x but for the sign; NaN is any NaN. */
function mirror(ys: Float32Array, mirrored: Float32Array, flip: number, xs: Float32Array): Worst {
  const [own, others] = [new Int32Array(ys.buffer), new Int32Array(mirrored.buffer)];
  const i = own.findIndex((y, k) => (y ^ flip) !== others[k] && !(Number.isNaN(ys[k]) && Number.isNaN(mirrored[k])));
  return i < 0 ? none : { error: Infinity, at: [xs[i] as number] };
}
