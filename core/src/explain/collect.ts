/** Listens while something runs: what the devices did on which thread, the programs that ran, the passes of compilation, the reads. */
import type { Device, Executable, Span } from "../runtime/driver.ts";
import type { Program } from "../runtime/program.ts";
import type { Stream } from "../runtime/stream.ts";
import { watch } from "../runtime/watch.ts";
import { newTally, type Timed } from "./time.ts";

export interface HostEvent {
  readonly kind: "pass" | "read";
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly begin: number;
  readonly end: number;
}

/** What a device did. */
export interface Heard {
  readonly device: Device;
  /** The first ones, as many as are kept. */
  readonly spans: readonly Span[];
  readonly times: ReadonlyMap<Executable | undefined, Timed>;
}

export interface Collected {
  readonly heard: readonly Heard[];
  readonly events: readonly HostEvent[];
  /** Spans beyond those that are kept. */
  readonly dropped: number;
  /** That ran. */
  readonly programs: readonly Program[];
}

/** What happens until `stop`. */
export interface Collector {
  stop(): Collected;
}

/** Spans and events that are kept by default: a trace of more is nothing that a browser shows. */
const mostKept = 500_000;

/** Listens to a device, and to each other one from its first program on. */
export function collect(first?: Device, kept = mostKept): Collector {
  const listening = new Map<Device, { readonly spans: Span[]; readonly tally: ReturnType<typeof newTally> }>();
  const events: HostEvent[] = [];
  const programs = new Set<Program>();
  let count = 0;
  const listen = (device: Device): void => {
    if (listening.has(device)) return;
    const [spans, tally] = [[] as Span[], newTally()];
    listening.set(device, { spans, tally });
    device.trace?.((span) => {
      tally.add(span);
      if (count++ < kept) spans.push(span);
    });
  };
  const before = watch.by;
  watch.by = {
    event: (kind, name, begin, end) => {
      if (events.length < kept) events.push({ kind, name, begin, end });
      before?.event(kind, name, begin, end);
    },
    compiled: (program) => before?.compiled?.(program),
    ran: (program) => {
      programs.add(program);
      listen(program.stream.device);
      before?.ran?.(program);
    },
  };
  if (first) listen(first);
  return {
    stop() {
      for (const device of listening.keys()) device.trace?.(null);
      watch.by = before;
      const heard = [...listening].map(([device, { spans, tally }]) => ({ device, spans, times: tally.times() }));
      return { heard, events, dropped: Math.max(0, count - kept), programs: [...programs] };
    },
  };
}

/** Listens to one device while a body runs. */
export async function collected<T>(
  stream: Stream,
  body: () => Promise<T>,
): Promise<Collected & { readonly result: T; readonly times: Heard["times"] }> {
  const device = await stream.opened();
  const collector = collect(device);
  try {
    const result = await body();
    const found = collector.stop();
    return { ...found, result, times: found.heard.find((h) => h.device === device)?.times ?? new Map() };
  } catch (error) {
    collector.stop();
    throw error;
  }
}
