/** Launches whose regions lie in several arenas, where the engine's modules reach only one: what lies elsewhere is copied to the
 *  arena that has the most of it, and back when the kernel has run. */

import { type Command, OutOfMemoryError, type Region } from "sinan/south";
import type { Arena } from "./arena.ts";
import { type Arenas, type CpuMemory, give } from "./arenas.ts";

export interface Gathered {
  readonly commands: readonly Command[];
  /** Memory to give back once the commands are done. */
  readonly temporary: readonly CpuMemory[];
}

/** The part of a memory that a launch uses. */
interface Span {
  readonly memory: CpuMemory;
  from: number;
  to: number;
}

function spansOf(arenas: Arenas, regions: readonly Region[]): Span[] {
  const spans = new Map<CpuMemory, Span>();
  for (const region of regions) {
    const memory = arenas.at(region);
    const { offset: from } = region;
    const to = from + region.bytes;
    const known = spans.get(memory);
    if (!known) spans.set(memory, { memory, from, to });
    else {
      known.from = Math.min(known.from, from);
      known.to = Math.max(known.to, to);
    }
  }
  return [...spans.values()];
}

/** Whether a launch's regions lie in several arenas. */
export const isApart = (regions: readonly Region[]): boolean => {
  const arenaOf = ({ memory }: Region): Arena => (memory as CpuMemory).arena;
  return regions.some((region) => arenaOf(region) !== arenaOf(regions[0] as Region));
};

/** The launch with all its regions in one arena.
 *  @throws OutOfMemoryError if no arena has room for what lies in the others; DeviceError if a region is not the device's */
export function gather(arenas: Arenas, launch: Command & { readonly kind: "launch" }): Gathered {
  const spans = spansOf(arenas, launch.regions);
  const bytesIn = (arena: Arena): number =>
    spans.reduce((sum, { memory, from, to }) => sum + (memory.arena === arena ? to - from : 0), 0);
  const homes = arenas.all.toSorted((a, b) => bytesIn(b) - bytesIn(a));
  let refusal: unknown;
  for (const home of homes) {
    const moved = new Map<CpuMemory, Span & { readonly copy: CpuMemory }>();
    try {
      for (const span of spans)
        if (span.memory.arena !== home)
          moved.set(span.memory, { ...span, copy: arenas.takeIn(home, span.to - span.from, "device") });
    } catch (cause) {
      if (!(cause instanceof OutOfMemoryError)) throw cause;
      refusal ??= cause;
      for (const { copy } of moved.values()) give(copy);
      continue;
    }
    const pairs = [...moved.values()].map(({ memory, copy, from, to }): readonly [Region, Region] => [
      { memory, offset: from, bytes: to - from },
      { memory: copy, offset: 0, bytes: to - from },
    ]);
    const regions = launch.regions.map((region) => {
      const span = moved.get(region.memory as CpuMemory);
      return span ? { memory: span.copy, offset: region.offset - span.from, bytes: region.bytes } : region;
    });
    return {
      commands: [
        ...pairs.map(([from, to]): Command => ({ kind: "copy", from, to })),
        { ...launch, regions },
        // Which of them the kernel wrote is not known here; the others get what they have.
        ...pairs.map(([to, from]): Command => ({ kind: "copy", from, to })),
      ],
      temporary: [...moved.values()].map(({ copy }) => copy),
    };
  }
  throw refusal;
}
