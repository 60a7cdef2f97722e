/** Where values of a program lie: lifetimes over the steps, offsets in one arena (largest first into the lowest gap, as in
 *  Pisarchyk & Lee 2020), element-wise results over inputs that die there, outputs over donated inputs. */

export interface Value {
  readonly bytes: number;
  /** Set where the memory is the program's argument or result. */
  readonly input?: number;
  readonly output?: number;
}

export interface Use {
  readonly reads: readonly number[];
  readonly writes: readonly number[];
  /** Reads whose memory a write may take over, when this is their last use. */
  readonly inPlace: readonly number[];
  /** Bytes of scratch while the step runs. */
  readonly scratch: number;
}

export interface MemoryPlan {
  readonly arenaBytes: number;
  /** Offset of each value in the arena; −1 for inputs and outputs. */
  readonly offsets: readonly number[];
  /** Offset of each step's scratch; −1 for none. */
  readonly scratch: readonly number[];
  /** For each output the input whose memory it may take over, or −1. */
  readonly reuse: readonly number[];
}

interface Span {
  readonly bytes: number;
  readonly from: number;
  to: number;
}

/** @param alignment  bytes; every offset is a multiple
 *  @param donated    inputs that the caller gives away */
export function planMemory(
  values: readonly Value[],
  uses: readonly Use[],
  outputs: number,
  alignment: number,
  donated: ReadonlySet<number>,
): MemoryPlan {
  const first = values.map(() => -1);
  const last = values.map(() => -1);
  uses.forEach(({ reads, writes }, step) => {
    for (const v of writes) if (first[v] === -1) first[v] = step;
    for (const v of [...reads, ...writes]) last[v] = step;
  });

  // Element-wise results take the place of what dies under them: the two are then one span.
  const home = values.map((_, v) => v);
  const find = (v: number): number => (home[v] === v ? v : find(home[v] as number));
  const isTemporary = (v: number) => values[v]?.input === undefined && values[v]?.output === undefined;
  uses.forEach(({ writes, inPlace }, step) => {
    const free = new Set(inPlace.filter((v) => isTemporary(v) && last[v] === step));
    for (const result of writes) {
      if (!isTemporary(result) || first[result] !== step) continue;
      const over = [...free].find((v) => values[v]?.bytes === values[result]?.bytes);
      if (over === undefined) continue;
      home[result] = find(over);
      free.delete(over);
    }
  });

  const spans = new Map<number, Span>();
  values.forEach(({ bytes }, v) => {
    if (!isTemporary(v) || first[v] === -1) return;
    const root = find(v);
    const span = spans.get(root);
    if (span) span.to = Math.max(span.to, last[v] as number);
    else spans.set(root, { bytes, from: first[v] as number, to: last[v] as number });
  });
  const scratchSpans = new Map<number, Span>();
  uses.forEach(({ scratch }, step) => {
    if (scratch > 0) scratchSpans.set(step, { bytes: scratch, from: step, to: step });
  });

  const placed = place([...spans.values(), ...scratchSpans.values()], alignment);
  return {
    arenaBytes: placed.bytes,
    offsets: values.map((_, v) => {
      const span = isTemporary(v) ? spans.get(find(v)) : undefined;
      return span ? (placed.at.get(span) as number) : -1;
    }),
    scratch: uses.map((_, step) => {
      const span = scratchSpans.get(step);
      return span ? (placed.at.get(span) as number) : -1;
    }),
    reuse: reuseOf(values, uses, outputs, first, last, donated),
  };
}

/** Offsets such that spans which overlap in time do not overlap in the arena. */
function place(spans: readonly Span[], alignment: number): { bytes: number; at: Map<Span, number> } {
  const at = new Map<Span, number>();
  const done: Span[] = [];
  let bytes = 0;
  for (const span of [...spans].sort((a, b) => b.bytes - a.bytes || a.from - b.from)) {
    let offset = 0;
    // `done` is kept in order of offset, so the first gap wide enough is the lowest.
    for (const other of done) {
      if (other.to < span.from || other.from > span.to) continue;
      const start = at.get(other) as number;
      if (start - offset >= span.bytes) break;
      offset = Math.max(offset, align(start + other.bytes, alignment));
    }
    at.set(span, offset);
    done.splice(position(done, at, offset), 0, span);
    bytes = Math.max(bytes, align(offset + span.bytes, alignment));
  }
  // Values of no bytes lie in the arena too.
  return { bytes: spans.length > 0 ? Math.max(bytes, alignment) : 0, at };
}

function position(done: readonly Span[], at: ReadonlyMap<Span, number>, offset: number): number {
  let [lo, hi] = [0, done.length];
  while (lo < hi) {
    const middle = (lo + hi) >> 1;
    if ((at.get(done[middle] as Span) as number) <= offset) lo = middle + 1;
    else hi = middle;
  }
  return lo;
}

const align = (n: number, to: number): number => Math.ceil(n / to) * to;

/** An output may lie over a donated input that nothing reads once the output is written. */
function reuseOf(
  values: readonly Value[],
  uses: readonly Use[],
  outputs: number,
  first: readonly number[],
  last: readonly number[],
  donated: ReadonlySet<number>,
): number[] {
  const free = new Map<number, number>();
  values.forEach(({ input }, v) => {
    if (input !== undefined && donated.has(input)) free.set(v, input);
  });
  const reuse = Array.from({ length: outputs }, () => -1);
  values.forEach(({ output, bytes }, v) => {
    if (output === undefined) return;
    const written = first[v] as number;
    const fits = (candidate: number) =>
      values[candidate]?.bytes === bytes &&
      ((last[candidate] as number) < written ||
        (last[candidate] === written && uses[written]?.inPlace.includes(candidate)));
    const inPlace = uses[written]?.inPlace.find((c) => free.has(c) && fits(c));
    const chosen = inPlace ?? [...free.keys()].find(fits);
    if (chosen === undefined) return;
    reuse[output] = free.get(chosen) as number;
    free.delete(chosen);
  });
  return reuse;
}
