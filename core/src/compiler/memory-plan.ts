/** Where values of a program lie: lifetimes over the steps, offsets in blocks of memory (largest first into the lowest gap, as in
 *  Pisarchyk & Lee 2020), one block unless that would be longer than the device allocates, element-wise results over inputs that die there, outputs over donated inputs. */

import type { Place } from "../runtime/program.ts";

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
  /** About how many operations it is, a byte moved counting as some. */
  readonly work: number;
}

/** The use with other values in the places of some. */
export function renamed(use: Use, rename: ReadonlyMap<number, number>): Use {
  const now = (v: number): number => rename.get(v) ?? v;
  return rename.size === 0
    ? use
    : { ...use, reads: use.reads.map(now), writes: use.writes.map(now), inPlace: use.inPlace.map(now) };
}

export interface MemoryPlan {
  /** The bytes of each block. */
  readonly blocks: readonly number[];
  /** Where each value lies; undefined for inputs and outputs. */
  readonly places: readonly (Place | undefined)[];
  /** Where each step's scratch lies; undefined for none. */
  readonly scratch: readonly (Place | undefined)[];
  /** For each output the input whose memory it may take over, or −1. */
  readonly reuse: readonly number[];
}

interface Span {
  readonly bytes: number;
  from: number;
  to: number;
}

/** @param alignment  bytes; every offset is a multiple
 *  @param donated    inputs that the caller gives away
 *  @param most       bytes of a block; a longer value gets one of its own */
export function planMemory(
  values: readonly Value[],
  uses: readonly Use[],
  outputs: number,
  alignment: number,
  donated: ReadonlySet<number>,
  most = Number.POSITIVE_INFINITY,
): MemoryPlan {
  const first = values.map(() => -1);
  const last = values.map(() => -1);
  uses.forEach(({ reads, writes }, step) => {
    for (const v of reads) last[v] = step;
    for (const v of writes) {
      if (first[v] === -1) first[v] = step;
      last[v] = step;
    }
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
    if (span) {
      span.from = Math.min(span.from, first[v] as number);
      span.to = Math.max(span.to, last[v] as number);
    } else spans.set(root, { bytes, from: first[v] as number, to: last[v] as number });
  });
  const scratchSpans = new Map<number, Span>();
  uses.forEach(({ scratch }, step) => {
    if (scratch > 0) scratchSpans.set(step, { bytes: scratch, from: step, to: step });
  });

  const placed = place([...spans.values(), ...scratchSpans.values()], alignment, most);
  return {
    blocks: placed.blocks,
    places: values.map((_, v) => {
      const span = isTemporary(v) ? spans.get(find(v)) : undefined;
      return span && placed.at.get(span);
    }),
    scratch: uses.map((_, step) => {
      const span = scratchSpans.get(step);
      return span && placed.at.get(span);
    }),
    reuse: reuseOf(values, uses, outputs, first, last, donated),
  };
}

/** Places such that spans which overlap in time do not overlap in memory. */
function place(
  spans: readonly Span[],
  alignment: number,
  most: number,
): { blocks: readonly number[]; at: ReadonlyMap<Span, Place> } {
  const at = new Map<Span, Place>();
  /** What lies in a block, in order of the offsets. */
  type Placed = Pick<Span, "from" | "to"> & { readonly start: number; readonly end: number };
  const blocks: { bytes: number; readonly done: Placed[] }[] = [];
  const lowest = (span: Span, done: readonly Placed[]): number => {
    let offset = 0;
    for (const other of done) {
      if (other.to < span.from || other.from > span.to) continue;
      if (other.start - offset >= span.bytes) break;
      if (other.end > offset) offset = other.end;
    }
    return offset;
  };
  for (const span of [...spans].sort((a, b) => b.bytes - a.bytes || a.from - b.from)) {
    let block = 0;
    let offset = 0;
    for (; ; block++) {
      const done = blocks[block]?.done ?? [];
      offset = lowest(span, done);
      if (done.length === 0 || offset + span.bytes <= most) break;
    }
    // Values of no bytes lie in a block too.
    const home = blocks[block] ?? { bytes: alignment, done: [] };
    blocks[block] = home;
    at.set(span, { block, offset });
    const { done } = home;
    let behind = done.length;
    while (behind > 0 && (done[behind - 1] as Placed).start > offset) behind--;
    const end = align(offset + span.bytes, alignment);
    done.splice(behind, 0, { from: span.from, to: span.to, start: offset, end });
    home.bytes = Math.max(home.bytes, end);
  }
  return { blocks: blocks.map(({ bytes }) => bytes), at };
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

/** A step that makes so few bytes may run long before they are needed. */
const tiny = 1024;

/** An order in which what overwrites a donated input, where nothing needs its results, comes as soon as all else that reads that input
 *  is done and what it reads is there: so a weight is updated between the steps of the backward pass, and its gradient is gone. What
 *  such updates have in common, numbers made of the rate, comes as soon as it can be made. */
export function updatesEarly(values: readonly Value[], uses: readonly Use[], donated: ReadonlySet<number>): number[] {
  const readers: number[][] = [];
  const writer: number[] = [];
  uses.forEach(({ reads, writes }, step) => {
    for (const v of reads) (readers[v] ??= []).push(step);
    for (const v of writes) writer[v] = step;
  });
  /** Behind the place of which step each one comes, and the moved ones behind each. */
  const behind = uses.map((_, step) => step);
  const moved: number[][] = [];
  uses.forEach(({ reads, writes, inPlace }, step) => {
    const given = inPlace.filter((v) => donated.has(values[v]?.input ?? -1));
    const updates = given.length > 0 && writes.every((v) => !readers[v]);
    if (!updates && writes.reduce((sum, v) => sum + (values[v] as Value).bytes, 0) > tiny) return;
    let latest = -1;
    const waits = (s: number | undefined): void => {
      if (s !== undefined && s !== step) latest = Math.max(latest, behind[s] as number);
    };
    for (const v of reads) waits(writer[v]);
    if (updates) for (const v of given) readers[v]?.forEach(waits);
    if (latest === step) return;
    behind[step] = latest;
    (moved[latest + 1] ??= []).push(step);
  });
  const at = (step: number): readonly number[] => moved[step + 1] ?? [];
  return [...at(-1), ...uses.flatMap((_, step) => (behind[step] === step ? [step, ...at(step)] : at(step)))];
}
