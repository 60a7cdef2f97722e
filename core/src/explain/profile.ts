/** `profile`: where the time of whatever runs while a function does went, kernel by kernel. */
import { defaultStream } from "../runtime/devices.ts";
import type { Device, Executable } from "../runtime/driver.ts";
import type { Stream } from "../runtime/stream.ts";
import { clock } from "../runtime/watch.ts";
import { collect, type Collected } from "./collect.ts";
import { type Kernel, kernelsOf } from "./kernels.ts";
import { placeOf, type SourcePlace } from "./place.ts";
import { profileText, type ProfileTextOptions } from "./profile-text.ts";
import { type Roofline, rooflineOf } from "./roofline.ts";
import { traceOf } from "./trace.ts";

/** Where the time of a kernel went. */
export interface KernelProfile extends SourcePlace {
  readonly name: string;
  readonly device: string;
  readonly launches: number;
  /** Of all launches, from the first thread that was at it to the last. */
  readonly milliseconds: number;
  /** Of the time of all kernels: 0 to 1. */
  readonly share: number;
  /** Of one launch, as the op table counts them; 0 of copies. */
  readonly flops: number;
  /** What one launch reads and writes at least; 0 of copies. */
  readonly bytes: number;
  readonly flopsPerSecond: number;
  readonly bytesPerSecond: number;
  /** The least time by the roofline as a part of what it took; undefined where that was not measured. Above 1 where operands were in
   *  caches. */
  readonly ofRoofline: number | undefined;
  /** Which side of the roofline it is under. */
  readonly bound: "compute" | "memory" | undefined;
  /** The user's lines and the modules around them, the one that takes longest first. */
  readonly sites: readonly string[];
}

/** Where the time of a program went. */
export interface ProfileReport {
  /** From the beginning to the end. */
  readonly milliseconds: number;
  /** Of passes and code generators on the calling thread. */
  readonly compileMilliseconds: number;
  readonly devices: readonly ProfiledDevice[];
  /** The longest first; empty where no device tells what it does when. */
  readonly kernels: readonly KernelProfile[];
  /** JSON in the Trace Event Format, for https://ui.perfetto.dev: kernels per thread, passes, reads. */
  readonly trace: string;
  /** A table of at most that many columns: 80 if nothing is said. */
  readonly toText: (options?: ProfileTextOptions) => string;
}

/** A device that did something. */
export interface ProfiledDevice {
  readonly id: string;
  readonly threads: number;
  /** What it can do, measured. */
  readonly peak: Roofline | undefined;
  /** Whether it tells what it does when. */
  readonly isTraced: boolean;
}

/** What `profile` gives: the body's result, and where its time went. */
export interface Profile<T> extends ProfileReport {
  readonly result: T;
}

/** A profile that is being taken. */
export interface Profiling {
  /** Ends it at once: shares of the roofline are there for devices that were measured before. */
  stop(): ProfileReport;
  /** Ends it, and measures what the devices can do, which takes about a tenth of a second each. */
  finish(): Promise<ProfileReport>;
}

/** Profiles all that happens from now on, on every device. One at a time.
 *
 *  @param options.spans  how many spans of threads the trace keeps, half a million by default; sums are of all
 *  @example const profiling = startProfile(); await train(); console.log((await profiling.finish()).toText()); */
export const startProfile = ({ spans }: { readonly spans?: number } = {}): Profiling => start(undefined, spans);

function start(first: Device | undefined, spans: number | undefined): Profiling {
  const begin = clock();
  const collector = collect(first, spans);
  let stopped: { readonly found: Collected; readonly milliseconds: number } | undefined;
  const stop = () => (stopped ??= { milliseconds: clock() - begin, found: collector.stop() });
  return {
    stop: () => reportOf(stop(), new Map()),
    async finish() {
      const ended = stop();
      const streams = new Map(ended.found.programs.map(({ stream }) => [stream.device, stream]));
      const peaks = new Map<Device, Roofline | undefined>();
      for (const [device, stream] of streams) peaks.set(device, await rooflineOf(stream));
      return reportOf(ended, peaks);
    },
  };
}

/** Runs a function, and tells what the devices, the compiler and the reads did meanwhile. Work that nobody awaits in the function
 *  may be missing.
 *
 *  @example const { trace } = await profile(async () => (await step(state)).loss.item()); */
export async function profile<T>(body: () => Promise<T>): Promise<Profile<T>> {
  const stream: Stream = defaultStream();
  const profiling = start(await stream.opened(), undefined);
  try {
    const result = await body();
    return { ...(await profiling.finish()), result };
  } catch (error) {
    profiling.stop();
    throw error;
  }
}

function reportOf(
  { found, milliseconds }: { readonly found: Collected; readonly milliseconds: number },
  peaks: ReadonlyMap<Device, Roofline | undefined>,
): ProfileReport {
  const known = knownKernels(found);
  const total = found.heard.reduce((sum, { times }) => sum + totalOf(times.values()), 0);
  const kernels = found.heard.flatMap(({ device, times }) =>
    [...times].map(([executable, timed]): KernelProfile => {
      const { flops = 0, bytes = 0, sites = [] } = (executable && known.get(executable)) ?? {};
      const perSecond = (amount: number): number => (timed.total > 0 ? (amount * timed.count * 1000) / timed.total : 0);
      const peak = peaks.get(device);
      const [byCompute, byMemory] = [flops / (peak?.flopsPerSecond ?? 1), bytes / (peak?.bytesPerSecond ?? 1)];
      const isJudged = peak !== undefined && flops + bytes > 0;
      return {
        name: executable?.name ?? "copy or fill",
        device: device.hardware.id,
        ...placeOf(sites),
        launches: timed.count,
        milliseconds: timed.total,
        share: total > 0 ? timed.total / total : 0,
        flops,
        bytes,
        flopsPerSecond: perSecond(flops),
        bytesPerSecond: perSecond(bytes),
        ofRoofline: isJudged ? perSecond(Math.max(byCompute, byMemory)) : undefined,
        bound: isJudged ? (byCompute > byMemory ? "compute" : "memory") : undefined,
        sites,
      };
    }),
  );
  const report = {
    milliseconds,
    compileMilliseconds: totalTime(found.events.filter(({ kind }) => kind === "pass")),
    devices: found.heard.map(({ device }) => ({
      id: device.hardware.id,
      threads: device.hardware.threads ?? 1,
      peak: peaks.get(device),
      isTraced: device.trace !== undefined,
    })),
    kernels: kernels.sort((a, b) => b.milliseconds - a.milliseconds),
  };
  const about = (executable: Executable): object => {
    const kernel = known.get(executable);
    return kernel ? { ...placeOf(kernel.sites), flops: kernel.flops, bytes: kernel.bytes } : {};
  };
  return {
    ...report,
    // Text of megabytes that not everybody wants.
    get trace() {
      return traceOf(found, about);
    },
    toText: (options) => profileText(report, options),
  };
}

/** What is known of the kernels of all programs that ran; of one that several of them share, the lines of all. */
function knownKernels({ programs }: Collected): Map<Executable, Kernel> {
  const known = new Map<Executable, Kernel>();
  for (const program of programs) {
    if (!program.ready) continue;
    for (const kernel of kernelsOf(program.ready)) {
      const before = known.get(kernel.executable);
      const sites = before ? [...new Set([...before.sites, ...kernel.sites])] : kernel.sites;
      known.set(kernel.executable, { ...kernel, sites });
    }
  }
  return known;
}

const totalOf = (times: Iterable<{ readonly total: number }>): number => {
  let sum = 0;
  for (const { total } of times) sum += total;
  return sum;
};

/** Milliseconds in which one of them or several were under way. */
function totalTime(events: readonly { readonly begin: number; readonly end: number }[]): number {
  let [sum, until] = [0, Number.NEGATIVE_INFINITY];
  for (const { begin, end } of [...events].sort((a, b) => a.begin - b.begin)) {
    sum += Math.max(0, end - Math.max(begin, until));
    until = Math.max(until, end);
  }
  return sum;
}
