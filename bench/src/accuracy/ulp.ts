/** Errors of f32 results in units in the last place of the exact one. */

const wide = new DataView(new ArrayBuffer(8));

/** The distance of neighbouring f32 at y's size; that of subnormal numbers where y is smaller.
 *  @see Muller et al. 2018, "Handbook of Floating-Point Arithmetic", definition 2.6 (Goldberg's) */
function ulpOf(y: number): number {
  wide.setFloat64(0, y);
  const exponent = ((wide.getUint16(0) >> 4) & 0x7ff) - 1023;
  return 2 ** (Math.min(Math.max(exponent, -126), 127) - 23);
}

/** An f32 result's distance from the exact one, which is a double: 0 where they are equal or both NaN, infinite where only one is NaN
 *  or an infinite result should be finite by far. Beyond the largest f32, infinity counts as 2¹²⁸. */
export function ulpError(got: number, exact: number): number {
  if (Number.isNaN(got) || Number.isNaN(exact)) return Number.isNaN(got) && Number.isNaN(exact) ? 0 : Infinity;
  const [y, e] = [bounded(got), bounded(exact)];
  return Math.abs(y - e) / ulpOf(e);
}

const bounded = (y: number): number => Math.max(-(2 ** 128), Math.min(2 ** 128, y));
