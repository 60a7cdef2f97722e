/** Timing: repeated calls after a warm-up, and the median over them. The median is what every figure states, ours and the
 *  peers' alike; the best of many runs flatters whoever has the noisier times. */

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[sorted.length >> 1];
  const lower = sorted[(sorted.length - 1) >> 1];
  if (upper === undefined || lower === undefined) throw new RangeError("median: expected at least one value, got none");
  return (lower + upper) / 2;
}

export interface Repeats {
  /** Untimed calls first: compiling, filling caches. */
  readonly warmup?: number;
  readonly atLeast?: number;
  /** Go on until this many seconds have passed. */
  readonly seconds?: number;
  readonly atMost?: number;
}

/** The seconds of each timed call of `f`, which is awaited. */
export async function times(f: () => unknown, repeats: Repeats = {}): Promise<number[]> {
  const { warmup = 2, atLeast = 5, seconds = 2, atMost = 200 } = repeats;
  for (let i = 0; i < warmup; i++) await f();
  const taken: number[] = [];
  const end = performance.now() + seconds * 1000;
  while (taken.length < atLeast || (performance.now() < end && taken.length < atMost)) {
    const start = performance.now();
    await f();
    taken.push((performance.now() - start) / 1000);
  }
  return taken;
}
