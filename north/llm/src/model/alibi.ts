/** Attention with linear biases (Press et al. 2022, arXiv:2108.12409): what a key's position adds to its scores. A query's own
 *  position would add the same to all of its scores, which changes no weight, so it is left out. */

import { mul, reshape, tensor, type Tensor } from "sinan";

/** The slope of each head: a geometric sequence from 2^(−8/n) on for n heads; where n is no power of two, that of the power below
 *  with every other one of the power above, as the paper's code has it. */
export function alibiSlopes(heads: number): number[] {
  const powers = (n: number): number[] => Array.from({ length: n }, (_, i) => 2 ** ((-8 * (i + 1)) / n));
  const whole = 2 ** Math.floor(Math.log2(heads));
  const between = powers(2 * whole).filter((_, i) => i % 2 === 0);
  return [...powers(whole), ...between.slice(0, heads - whole)];
}

/** @param places  of keys, i32 `[keys]`, or `[batch, keys]` where rows differ
 *  @returns        `[1 or batch, heads, 1, keys]` */
export function alibi(places: Tensor, heads: number): Tensor {
  const slopes = tensor(alibiSlopes(heads), { shape: [heads, 1, 1] });
  const [keys, rows] = [places.dims.at(-1), places.rank === 1 ? 1 : places.dims[0]];
  return mul(slopes, reshape(places.cast("f32"), [rows ?? 1, 1, 1, keys ?? 1]));
}
