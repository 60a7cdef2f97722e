/** `explain`: what becomes of a function, from the passes to the time of each kernel. Nothing of it is loaded unless asked for. */
import { type Footprint, footprintOf } from "../compiler/footprint.ts";
import { passes as graphPasses } from "../compiler/compile.ts";
import { fuse } from "../compiler/fuse.ts";
import { groupFn } from "../compiler/groups.ts";
import { runPasses } from "../compiler/pass.ts";
import { ArgumentError } from "../errors.ts";
import { type Fn, nodesOf } from "../ir/fn.ts";
import { print } from "../ir/print.ts";
import { clock } from "../runtime/watch.ts";
import type { Program } from "../runtime/program.ts";
import { type Call, callOf, jit } from "../tensor/jit.ts";
import { collected } from "./collect.ts";
import { kernelsOf, schedulesOf } from "./kernels.ts";
import { type KernelReport, kernelsText, memoryText, type PassReport, passesText, timeText } from "./print.ts";
import { type Roofline, rooflineOf } from "./roofline.ts";
import { traceOf } from "./trace.ts";

export const sections = ["passes", "kernels", "memory", "time"] as const;
/** A part of an explanation. */
export type Section = (typeof sections)[number];

/** What the compiler made of a function, as data and as text. */
export interface Explanation {
  readonly name: string;
  /** The function as traced, and after each pass. */
  readonly passes: readonly PassReport[];
  readonly kernels: readonly KernelReport[];
  readonly memory: Footprint;
  /** What the device can do, measured; undefined where it does not tell when it ran what. */
  readonly peak: Roofline | undefined;
  /** JSON in the Trace Event Format, for https://ui.perfetto.dev: kernels per thread, passes, reads. */
  readonly trace: string;
  /** Some sections, all of them by default. */
  toText(...wanted: readonly Section[]): string;
  toString(): string;
}

/** Says what becomes of a call: the passes' results, the kernels with their schedules and the lines they come from, who holds memory at
 *  the peak, and how long each kernel takes beside what the device can do. The call is run some times on the given arguments, which it
 *  leaves as they are: nothing is donated or assigned.
 *
 *  @param f     a function, or what `jit` made of one
 *  @param args  what it would be called with
 *  @throws what calling it throws
 *  @example console.log(String(await explain((x: Tensor) => x.exp().sum(), zeros([1024])))); */
export async function explain<A extends readonly unknown[]>(
  f: (...args: A) => unknown,
  ...args: A
): Promise<Explanation> {
  const call = callOf.get(f) ?? callOf.get(jit(f));
  if (!call) throw new ArgumentError("explain: expected a function");
  return explained(call(args));
}

async function explained({ program, args }: Call): Promise<Explanation> {
  const { stream } = program;
  const passes = passReports(program.fn);
  const loaded = await program.loaded();
  const { hardware } = stream.device;
  const kernels = kernelsOf(loaded);
  const schedules = schedulesOf(loaded, hardware);
  const run = async (): Promise<void> => {
    const outputs = program.run(args);
    const [first] = [...outputs].sort((a, b) => a.bytes - b.bytes);
    if (first) await stream.read(first);
    for (const output of outputs) output.release();
  };
  for (let i = 0; i < warmUp; i++) await run();
  const begin = clock();
  let runs = 0;
  const found = await collected(stream, async () => {
    for (; runs < leastRuns || (clock() - begin < milliseconds && runs < mostRuns); runs++) await run();
  });
  const { times } = found;
  const timed = kernels.map(({ executable, ...kernel }): KernelReport => {
    const all = times.get(executable);
    return { ...kernel, ...schedules(executable), milliseconds: all ? all.total / runs : undefined };
  });
  const peak = await rooflineOf(stream);
  const memory = footprintOf(loaded.plan);
  const text: Readonly<Record<Section, () => string>> = {
    passes: () => passesText(passes),
    kernels: () => kernelsText(timed),
    memory: () => memoryText(memory),
    time: () => timeText(timed, peak, hardware.threads ?? 1),
  };
  const name = program.fn.name;
  const toText = (...wanted: readonly Section[]): string =>
    sections
      .filter((s) => wanted.length === 0 || wanted.includes(s))
      .map((s) => text[s]())
      .join("\n");
  const toString = (): string => `${name} on ${hardware.id}\n\n${toText()}`;
  return { name, passes, kernels: timed, memory, peak, trace: traceOf(found), toText, toString };
}

/** Calls before any is timed, and how many are. */
const warmUp = 3;
const [leastRuns, mostRuns, milliseconds] = [3, 200, 500] as const;

/** What each pass makes of a function. */
export function passReports(fn: Fn): PassReport[] {
  const report = (name: string, result: Fn, from: number): PassReport => ({
    name,
    nodes: nodesOf(result).length,
    milliseconds: clock() - from,
    text: print(result),
  });
  let from = clock();
  const reports: PassReport[] = [{ ...report("traced", fn, from), milliseconds: 0 }];
  from = clock();
  const ready = runPasses(fn, graphPasses, (pass, result) => {
    reports.push(report(pass.name, result, from));
    from = clock();
  });
  const { groups, stored } = fuse(ready);
  const milliseconds = clock() - from;
  const text = groups.flatMap((g) => ("call" in g ? [] : [print(groupFn(g, stored).fn)])).join("\n");
  return [...reports, { name: "fuse", nodes: groups.length, milliseconds, text }];
}

/** What can be said of a program without running it. */
export async function staticText(program: Program, wanted: readonly Section[]): Promise<string> {
  const loaded = await program.loaded();
  const schedules = schedulesOf(loaded, program.stream.device.hardware);
  const kernels = kernelsOf(loaded).map(({ executable, ...kernel }) => {
    return { ...kernel, ...schedules(executable), milliseconds: undefined };
  });
  const text: Readonly<Record<Section, () => string>> = {
    passes: () => passesText(passReports(program.fn)),
    kernels: () => kernelsText(kernels),
    memory: () => memoryText(footprintOf(loaded.plan)),
    time: () => "",
  };
  const parts = sections.filter((s) => wanted.includes(s)).map((s) => text[s]());
  return `${program.fn.name} on ${program.stream.device.hardware.id}\n\n${parts.filter((p) => p !== "").join("\n")}`;
}
