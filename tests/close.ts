/** Comparison of numbers with a tolerance, for tests. */
import assert from "node:assert/strict";
import type { Tensor } from "../core/src/index.ts";

export interface Tolerance {
  /** Of the larger of the two magnitudes. */
  readonly relative?: number;
  readonly absolute?: number;
}

/** Fails unless every element is within absolute + relative · |expected|; NaN equals NaN, and an infinity only itself. */
export async function close(
  actual: Tensor,
  expected: ArrayLike<number>,
  { relative = 2e-6, absolute = 2e-6 }: Tolerance = {},
  what = "value",
): Promise<void> {
  const got = Array.from(await actual.data(), Number);
  assert.equal(got.length, expected.length, `${what}: expected ${expected.length} numbers, got ${got.length}`);
  got.forEach((a, i) => {
    const e = expected[i] as number;
    const within = Object.is(a, e) || a === e || Math.abs(a - e) <= absolute + relative * Math.abs(e);
    assert.ok(within, `${what}[${i}]: expected ${e}, got ${a}`);
  });
}

/** The gradient of a function of f64 values by central differences, of step h. */
export async function differences(
  f: (x: Float64Array) => Promise<number>,
  x: Float64Array,
  h = 1e-5,
): Promise<Float64Array> {
  const g = new Float64Array(x.length);
  for (let i = 0; i < x.length; i++) {
    const at = (d: number) => {
      const y = x.slice();
      y[i] = (y[i] as number) + d;
      return f(y);
    };
    g[i] = ((await at(h)) - (await at(-h))) / (2 * h);
  }
  return g;
}
