/** Launches whose regions lie in several arenas, where the engine's modules reach only one: what lies elsewhere is copied to the
 *  arena that has the most of it, and back when the kernel has run. */

import { type Command, type Executable, OutOfMemoryError, type Region } from "sinan/south";
import type { Arena } from "./arena.ts";
import { type Arenas, type CpuMemory, give } from "./arenas.ts";
import { CpuExecutable } from "./kernels.ts";
import { asError, type Submission } from "./submission.ts";
import { multiMemory, probe } from "./wasm/probe.ts";

/** Changes the commands of a submission; returns memory to give back once they are done. */
export type Gather = (arenas: Arenas, submission: Submission) => readonly CpuMemory[];

interface Gathered {
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
const isApart = (regions: readonly Region[]): boolean => {
  const arenaOf = ({ memory }: Region): Arena => (memory as CpuMemory).arena;
  return regions.some((region) => arenaOf(region) !== arenaOf(regions[0] as Region));
};

/** Whether a launch can reach regions in several arenas at once: native code takes addresses. */
const reachesSeveral = (executable: Executable): boolean =>
  !(executable instanceof CpuExecutable) || (executable.kernel.apart !== undefined && probe(multiMemory));

/** Brings together the regions of launches that lie in several arenas, where modules reach only one. */
export const gather: Gather = (arenas, submission) => {
  const apart = (c: Command): boolean => c.kind === "launch" && !reachesSeveral(c.executable) && isApart(c.regions);
  if (arenas.all.length === 1 || submission.failure || !submission.commands.some(apart)) return [];
  const temporary: CpuMemory[] = [];
  try {
    submission.commands = submission.commands.flatMap((c) => {
      if (c.kind !== "launch" || !apart(c)) return [c];
      const made = gathered(arenas, c);
      temporary.push(...made.temporary);
      return made.commands;
    });
  } catch (error) {
    submission.failure = asError(error);
  }
  return temporary;
};

/** The launch with all its regions in one arena.
 *  @throws OutOfMemoryError if no arena has room for what lies in the others; DeviceError if a region is not the device's */
function gathered(arenas: Arenas, launch: Command & { readonly kind: "launch" }): Gathered {
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
