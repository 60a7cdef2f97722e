/** The error function in double precision, the reference for the `erf` op, within 2 units in the last place. Below 1 the Maclaurin series
 *  (Abramowitz & Stegun 7.1.5) by Horner's rule, above it the continued fraction of erfc (7.1.14) by backward recurrence. Its
 *  text is given to workers, so it needs nothing around it. */
export function erf(x: number): number {
  const a = Math.abs(x);
  let y = 0;
  if (a < 1) {
    for (let n = 20; n > 0; n--) y = ((a * a) / n) * (1 / (2 * n + 1) - y);
    const more = 0.12837916709551256; // 2 / √π − 1
    return x + x * (more - y - more * y);
  }
  for (let n = 200; n > 0; n--) y = n / 2 / (a + y);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + y));
}
