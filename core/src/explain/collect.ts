/** Listens while something runs: what the device did on which thread, the passes of compilation, the reads. */
import type { Device, Span } from "../runtime/driver.ts";
import type { Stream } from "../runtime/stream.ts";
import { watch } from "../runtime/watch.ts";

export interface HostEvent {
  readonly kind: "pass" | "read";
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly begin: number;
  readonly end: number;
}

export interface Collected {
  readonly spans: readonly Span[];
  readonly events: readonly HostEvent[];
  /** Whether the device tells of its work. */
  readonly isTraced: boolean;
}

/** What happens on a device until `stop`. */
export interface Collector {
  stop(): Collected;
}

export function collect(device: Device): Collector {
  const spans: Span[] = [];
  const events: HostEvent[] = [];
  const before = watch.by;
  watch.by = {
    event: (kind, name, begin, end) => {
      events.push({ kind, name, begin, end });
      before?.event(kind, name, begin, end);
    },
    compiled: (program) => before?.compiled?.(program),
  };
  device.trace?.((span) => spans.push(span));
  return {
    stop() {
      device.trace?.(null);
      watch.by = before;
      return { spans, events, isTraced: device.trace !== undefined };
    },
  };
}

/** Listens while a body runs. */
export async function collected<T>(
  stream: Stream,
  body: () => Promise<T>,
): Promise<Collected & { readonly result: T }> {
  const collector = collect(await stream.opened());
  try {
    const result = await body();
    return { ...collector.stop(), result };
  } catch (error) {
    collector.stop();
    throw error;
  }
}
