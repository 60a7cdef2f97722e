/** What was collected as a trace that Perfetto and Chrome open.
 *  @see the Trace Event Format, https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU */
import type { Collected } from "./collect.ts";

const process = 1;

/** JSON text: kernels on the thread that ran them, passes on the calling thread, reads as what was waited for. Times are
 *  microseconds since the first event. */
export function traceOf({ spans, events }: Pick<Collected, "spans" | "events">): string {
  const start = Math.min(...spans.map((s) => s.begin), ...events.map((e) => e.begin));
  const at = (ms: number): number => Number(((ms - start) * 1000).toFixed(3));
  const threads = [...new Set([0, ...spans.map((s) => s.thread)])].sort((a, b) => a - b);
  const named = threads.map((tid) => ({
    name: "thread_name",
    ph: "M",
    pid: process,
    tid,
    args: { name: tid === 0 ? "calling thread" : `worker ${tid}` },
  }));
  const work = spans.map(({ executable, thread, launch, begin, end }) => ({
    name: executable?.name ?? "copy or fill",
    cat: "kernel",
    ph: "X",
    pid: process,
    tid: thread,
    ts: at(begin),
    dur: Number(((end - begin) * 1000).toFixed(3)),
    args: { launch },
  }));
  const host = events.flatMap(({ kind, name, begin, end }, id): object[] => {
    const common = { name, cat: kind, pid: process, tid: 0 };
    if (kind === "pass") return [{ ...common, ph: "X", ts: at(begin), dur: Number(((end - begin) * 1000).toFixed(3)) }];
    // Reads overlap: each is a track of its own.
    return [
      { ...common, ph: "b", id, ts: at(begin) },
      { ...common, ph: "e", id, ts: at(end) },
    ];
  });
  return JSON.stringify({ displayTimeUnit: "ms", traceEvents: [...named, ...work, ...host] });
}
