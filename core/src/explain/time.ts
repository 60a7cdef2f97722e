/** Spans of threads put together to launches. */
import type { Executable, Span } from "../runtime/driver.ts";

/** Milliseconds from the first to the last thread that was at it. */
export interface Timed {
  count: number;
  total: number;
  least: number;
}

/** The time of each kernel over its launches; `undefined` are copies. */
export function launches(spans: readonly Span[]): Map<Executable | undefined, Timed> {
  const each = new Map<number, { readonly of: Executable | undefined; begin: number; end: number }>();
  for (const { executable, launch, begin, end } of spans) {
    const known = each.get(launch);
    if (!known) each.set(launch, { of: executable, begin, end });
    else {
      known.begin = Math.min(known.begin, begin);
      known.end = Math.max(known.end, end);
    }
  }
  const all = new Map<Executable | undefined, Timed>();
  for (const { of, begin, end } of each.values()) {
    const took = end - begin;
    const known = all.get(of);
    if (!known) all.set(of, { count: 1, total: took, least: took });
    else {
      known.count++;
      known.total += took;
      known.least = Math.min(known.least, took);
    }
  }
  return all;
}
