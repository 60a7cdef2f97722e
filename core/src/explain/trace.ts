/** What was collected as a trace that Perfetto and Chrome open.
 *  @see the Trace Event Format, https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU */
import type { Executable } from "../runtime/driver.ts";
import type { Collected } from "./collect.ts";

/** JSON text: kernels on the thread that ran them, a process for each device; passes on the calling thread of the first, reads as what
 *  was waited for. Times are microseconds since the first event.
 *
 *  @param about  what else is to be said of a kernel */
export function traceOf(
  { heard, events, dropped }: Pick<Collected, "heard" | "events" | "dropped">,
  about: (executable: Executable) => object = () => ({}),
): string {
  let start = Number.POSITIVE_INFINITY;
  for (const { spans } of heard) for (const s of spans) start = Math.min(start, s.begin);
  for (const e of events) start = Math.min(start, e.begin);
  const at = (ms: number): number => Number(((ms - start) * 1000).toFixed(3));
  const work = heard.flatMap(({ device, spans }, i) => {
    const pid = i + 1;
    const threads = [...new Set([0, ...spans.map((s) => s.thread)])].sort((a, b) => a - b);
    if (spans.length === 0 && (i > 0 || events.length === 0)) return [];
    return [
      { name: "process_name", ph: "M", pid, tid: 0, args: { name: device.hardware.id } },
      ...threads.map((tid) => ({
        name: "thread_name",
        ph: "M",
        pid,
        tid,
        args: { name: tid === 0 ? "calling thread" : `worker ${tid}` },
      })),
      ...spans.map(({ executable, thread, launch, begin, end }) => ({
        name: executable?.name ?? "copy or fill",
        cat: "kernel",
        ph: "X",
        pid,
        tid: thread,
        ts: at(begin),
        dur: Number(((end - begin) * 1000).toFixed(3)),
        args: { launch, ...(executable && about(executable)) },
      })),
    ];
  });
  const host = events.flatMap(({ kind, name, begin, end }, id): object[] => {
    const shared = { name, cat: kind, pid: 1, tid: 0 };
    if (kind === "pass") return [{ ...shared, ph: "X", ts: at(begin), dur: Number(((end - begin) * 1000).toFixed(3)) }];
    // Reads overlap: each is a track of its own.
    return [
      { ...shared, ph: "b", id, ts: at(begin) },
      { ...shared, ph: "e", id, ts: at(end) },
    ];
  });
  const more = dropped > 0 ? { otherData: { dropped: `${dropped} spans came after those that are kept` } } : {};
  return JSON.stringify({ displayTimeUnit: "ms", traceEvents: [...work, ...host], ...more });
}
