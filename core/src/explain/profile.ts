/** `profile`: a trace of whatever runs while a function does. */
import { defaultStream } from "../runtime/devices.ts";
import { collected } from "./collect.ts";
import { launches } from "./time.ts";
import { traceOf } from "./trace.ts";

/** Where the time of a call went. */
export interface Profile<T> {
  readonly result: T;
  /** JSON in the Trace Event Format, for https://ui.perfetto.dev: kernels per thread, passes, reads. */
  readonly trace: string;
  /** The time of each kernel by its name, the longest first; empty where the device does not tell. */
  readonly kernels: readonly { readonly name: string; readonly launches: number; readonly milliseconds: number }[];
}

/** Runs a function, and tells what the default device, the compiler and the reads did meanwhile. Work that nobody awaits in the function
 *  may be missing.
 *
 *  @example const { trace } = await profile(async () => (await step(state)).loss.item()); */
export async function profile<T>(body: () => Promise<T>): Promise<Profile<T>> {
  const { result, spans, events } = await collected(defaultStream(), body);
  const byName = new Map<string, { name: string; launches: number; milliseconds: number }>();
  for (const [executable, { count, total }] of launches(spans)) {
    const name = executable?.name ?? "copy or fill";
    const known = byName.get(name) ?? { name, launches: 0, milliseconds: 0 };
    byName.set(name, { name, launches: known.launches + count, milliseconds: known.milliseconds + total });
  }
  const kernels = [...byName.values()].sort((a, b) => b.milliseconds - a.milliseconds);
  return {
    result,
    trace: spans.length + events.length > 0 ? traceOf({ spans, events }) : '{"traceEvents":[]}',
    kernels,
  };
}
