/** Spans of threads put together to launches, as they come: of a long run nothing is kept but sums. */
import type { Executable, Span } from "../runtime/driver.ts";

/** Milliseconds from the first to the last thread that was at it. */
export interface Timed {
  count: number;
  total: number;
  least: number;
}

/** The times of one device. */
export interface Tally {
  readonly add: (span: Span) => void;
  /** The time of each kernel over its launches; `undefined` are copies. */
  readonly times: () => Map<Executable | undefined, Timed>;
}

/** Launches of which threads may still tell. */
const mostOpen = 4096;

export function newTally(): Tally {
  const open = new Map<number, { readonly of: Executable | undefined; begin: number; end: number }>();
  const all = new Map<Executable | undefined, Timed>();
  const close = (most: number): void => {
    for (const [launch, { of, begin, end }] of open) {
      if (open.size <= most) return;
      open.delete(launch);
      const took = end - begin;
      const known = all.get(of);
      if (!known) all.set(of, { count: 1, total: took, least: took });
      else {
        known.count++;
        known.total += took;
        known.least = Math.min(known.least, took);
      }
    }
  };
  return {
    add({ executable, launch, begin, end }) {
      const known = open.get(launch);
      if (known) {
        known.begin = Math.min(known.begin, begin);
        known.end = Math.max(known.end, end);
        return;
      }
      open.set(launch, { of: executable, begin, end });
      if (open.size > 2 * mostOpen) close(mostOpen);
    },
    times() {
      close(0);
      return all;
    },
  };
}
