/** Rotary position embedding (Su et al. 2021, arXiv:2104.09864) in the half-split layout of Hugging Face: element j of a head
 *  turns together with element j + headDim / 2. The angles are worked out once on the host, in double precision. */

import { add, type DType, flip, mul, type Tensor, tensor } from "sinan";
import type { LlamaConfig } from "../config.ts";

/** Both `[time, 2, headDim / 2]`: the two halves of a head side by side. The first half of `sin` is negative. */
export interface RopeTables {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** The tables of positions 0 to `length` − 1; the angle of pair j at position t is `t · theta^(−2j / headDim)`. */
export function ropeTables({ headDim, ropeTheta }: LlamaConfig, length: number, dtype: DType = "f32"): RopeTables {
  const pairs = headDim / 2;
  const cos = new Float64Array(length * headDim);
  const sin = new Float64Array(length * headDim);
  for (let j = 0; j < pairs; j++) {
    const frequency = ropeTheta ** (-j / pairs);
    for (let t = 0; t < length; t++) {
      const first = t * headDim + j;
      const second = first + pairs;
      cos[first] = cos[second] = Math.cos(t * frequency);
      sin[second] = Math.sin(t * frequency);
      sin[first] = -Math.sin(t * frequency);
    }
  }
  const shape = [length, 2, pairs];
  return { cos: tensor(cos, { shape, dtype }), sin: tensor(sin, { shape, dtype }) };
}

/** Turns the pairs of `x [..., time, 2, headDim / 2]`: `(a, b) → (a cos − b sin, b cos + a sin)`. */
export const rotate = (x: Tensor, { cos, sin }: RopeTables): Tensor => add(mul(x, cos), mul(flip(x, -2), sin));
