/** What the default device holds. */
import { defaultStream } from "./devices.ts";
import type { Stream } from "./stream.ts";

/** What tensors hold on the default device, in bytes. */
export interface MemoryReport {
  readonly device: string;
  /** Bytes of live tensors and running programs. */
  readonly live: number;
  /** Bytes kept for reuse. */
  readonly cached: number;
  /** The most that was live at once. */
  readonly peak: number;
  /** Tensors with memory of their own. */
  readonly tensors: number;
  /** Bytes that live tensors may take. */
  readonly budget: number;
}

/** A count of the memory in use, in bytes. Before the device is open everything is 0. */
export function memory(stream: Stream = defaultStream()): MemoryReport {
  const tensors = [...stream.live].reduce((sum, ref) => sum + (ref.deref()?.residents ?? 0), 0);
  if (!stream.hardware) return { device: stream.name, live: 0, cached: 0, peak: 0, tensors, budget: 0 };
  const { live, cached, peak, budget } = stream.pool;
  return { device: stream.hardware.id, live, cached, peak, tensors, budget };
}
