/** `tune`: searches schedules for the kernels of programs on the device that they run on, the one that takes longest first. */
import { groupOf, tuningOf } from "../compiler/kernels.ts";
import { ArgumentError } from "../errors.ts";
import type { Fn } from "../ir/fn.ts";
import { collected } from "../explain/collect.ts";
import type { Executable } from "../runtime/driver.ts";
import type { Program } from "../runtime/program.ts";
import { codegenFor } from "../runtime/registry.ts";
import type { Stream } from "../runtime/stream.ts";
import { clock } from "../runtime/watch.ts";
import { callOf, jit } from "../tensor/jit.ts";
import { decisionsOf, neighbours } from "./choices.ts";
import { hardwareKey, kernelKey, type TuningEntry, type TuningFile, tuningFile } from "./file.ts";
import { type BenchFor, benchKernel, type Candidate } from "./measure.ts";
import { keyOf, search } from "./search.ts";

/** How long and what to search. */
export interface TuneOptions {
  /** Seconds for all kernels together; a minute if nothing is said. */
  readonly seconds?: number;
  /** How many choices go on from one round to the next: 3 if nothing is said. */
  readonly beam?: number;
  /** Kernels that are searched, the slowest ones. All that take a hundredth of the time or more, if nothing is said. */
  readonly kernels?: number;
  /** Whether sums may be taken in another order: results then differ in their last bits. */
  readonly reorder?: boolean;
  /** Ends the search; what was found so far is the result. */
  readonly signal?: { readonly aborted: boolean };
  /** Found before: kept, and not searched again unless `again` is true. */
  readonly known?: TuningFile;
  readonly again?: boolean;
  readonly onProgress?: (progress: TuneProgress) => void;
  /** Told of each kernel that is done, and of all that is known by then. */
  readonly onFound?: (entry: TuningEntry, tuning: TuningFile) => void;
}

/** How far a search is. */
export interface TuneProgress {
  /** The kernel that is searched now, and its place among those that are. */
  readonly name: string;
  readonly at: number;
  readonly of: number;
  /** Schedules of it that were measured, and how much faster the best is than the heuristic's. */
  readonly tried: number;
  readonly gain: number;
  /** Seconds since the beginning, and until the end as far as that can be said. */
  readonly elapsed: number;
  readonly left: number;
}

/** A program, and how long each of its kernels took. */
export interface TimedProgram {
  readonly program: Program;
  readonly times: ReadonlyMap<Executable | undefined, { readonly total: number }>;
}

/** Searches for the kernels of a call. The call is run some times on its arguments, which stay as they are; kernels are then run alone,
 *  on random inputs, and a schedule counts only if it computes what the heuristic's does.
 *
 *  @param f     a function, or what `jit` made of one
 *  @param args  what it would be called with
 *  @returns a tuning for `jit`'s option `tune`, or for `writeTuning`
 *  @throws what calling it throws
 *  @example const tuning = await tune(step, [state, x], { seconds: 30 }); const faster = jit(update, { tune: tuning }); */
export async function tune<A extends readonly unknown[]>(
  f: (...args: A) => unknown,
  args: A,
  options: TuneOptions = {},
): Promise<TuningFile> {
  const call = callOf.get(f) ?? callOf.get(jit(f));
  if (!call) throw new ArgumentError("tune: expected a function");
  const { program, args: given } = call(args);
  const { stream } = program;
  const run = async (): Promise<void> => {
    const outputs = program.run(given);
    const [first] = [...outputs].sort((a, b) => a.bytes - b.bytes);
    if (first) await stream.read(first);
    for (const output of outputs) output.release();
  };
  await program.loaded();
  await run();
  const { times } = await collected(stream, async () => {
    for (let i = 0; i < timedCalls; i++) await run();
  });
  return tunePrograms([{ program, times }], options);
}

const timedCalls = 3;

/** Searches for the kernels of programs that ran.
 *
 *  @param bench  how a kernel is measured, for tests */
export async function tunePrograms(
  programs: readonly TimedProgram[],
  options: TuneOptions = {},
  bench: BenchFor = benchKernel,
): Promise<TuningFile> {
  const { seconds = 60, beam = 3, kernels, reorder = false, signal, known = tuningFile([]), again = false } = options;
  const entries = new Map(known.entries.map((e) => [`${e.kernel} ${e.hardware}`, e]));
  const works = worksOf(programs).filter(({ group, stream }) => again || !entries.has(placeOf(group, stream)));
  const total = works.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const wanted = works
    .filter(({ milliseconds }) => kernels !== undefined || milliseconds >= leastShare * total)
    .slice(0, kernels);
  const begin = clock();
  const elapsed = (): number => (clock() - begin) / 1000;
  const isEnded = (): boolean => signal?.aborted === true || elapsed() > seconds;
  for (const [i, { group, stream, milliseconds }] of wanted.entries()) {
    if (isEnded()) break;
    const from = elapsed();
    // Of the time that is left as much as it takes of theirs, or an equal part.
    const slower = wanted.slice(i).reduce((sum, { milliseconds: ms }) => sum + ms, 0);
    const part = Math.max(slower > 0 ? milliseconds / slower : 0, 1 / (wanted.length - i));
    const until = from + (seconds - from) * part;
    const isOver = (): boolean => isEnded() || elapsed() > until;
    const tell = (tried: number, gain: number): void => {
      // As those that are done, or as this one so far; never more than there is.
      const own = elapsed() - from;
      const each = Math.max(own, i > 0 ? from / i : 0);
      const left = Math.max(0, Math.min(seconds - elapsed(), each * (wanted.length - i) - own));
      options.onProgress?.({ name: group.name, at: i, of: wanted.length, tried, gain, elapsed: elapsed(), left });
    };
    tell(0, 1);
    const entry = await searched(group, stream, { beam, reorder, isOver, tell, bench });
    if (!entry) continue;
    entries.set(`${entry.kernel} ${entry.hardware}`, entry);
    options.onFound?.(entry, tuningFile([...entries.values()]));
  }
  return tuningFile([...entries.values()]);
}

/** Kernels that take less than this part of the time are left as they are. */
const leastShare = 0.01;

interface Work {
  readonly group: Fn;
  readonly stream: Stream;
  milliseconds: number;
}

const placeOf = (group: Fn, stream: Stream): string => `${kernelKey(group)} ${hardwareKey(stream.device.hardware)}`;

/** The kernels that have schedules, the slowest first; of one structure once. */
function worksOf(programs: readonly TimedProgram[]): Work[] {
  const works = new Map<string, Work>();
  const counted = new Set<Executable>();
  for (const { program, times } of programs) {
    const { ready, stream } = program;
    if (!ready || codegenFor(stream.device.hardware).level !== "loops") continue;
    ready.plan.artifacts.forEach((artifact, k) => {
      const group = groupOf(artifact);
      const executable = ready.executables[k];
      // What is tuned already is no measure of the heuristic.
      if (!group || !executable || tuningOf(artifact)?.chooser(group, stream.device.hardware)) return;
      const place = placeOf(group, stream);
      const work = works.get(place) ?? { group, stream, milliseconds: 0 };
      works.set(place, work);
      if (!counted.has(executable)) work.milliseconds += times.get(executable)?.total ?? 0;
      counted.add(executable);
    });
  }
  return [...works.values()].sort((a, b) => b.milliseconds - a.milliseconds);
}

interface Searching {
  readonly beam: number;
  readonly reorder: boolean;
  readonly isOver: () => boolean;
  readonly tell: (tried: number, gain: number) => void;
  readonly bench: BenchFor;
}

/** A candidate that takes more than so many times the best is dropped after its first launches. */
const hopeless = 3;
/** A schedule must be so much faster in the last comparison to be taken. */
const leastGain = 0.02;
const rounds = 5;

/** @returns undefined where the heuristic's schedule itself could not be run */
async function searched(
  group: Fn,
  stream: Stream,
  { beam, reorder, isOver, tell, bench }: Searching,
): Promise<TuningEntry | undefined> {
  const { hardware } = stream.device;
  const kernel = await bench(group, stream);
  const ready = new Map<string, Candidate>();
  let first: number | undefined;
  try {
    const found = await search({
      beam,
      isOver,
      neighbours: (choices) => neighbours(choices, decisionsOf(group, hardware, choices), { hardware, reorder }),
      async measure(candidates, best) {
        const times: (number | undefined)[] = [];
        for (const candidate of await kernel.prepare(candidates)) {
          const isGood = candidate?.agreement === "same bits" || (reorder && candidate?.agreement === "other bits");
          if (!candidate || !isGood || (isOver() && first !== undefined)) {
            times.push(undefined);
            continue;
          }
          const ms = await candidate.time(best === undefined ? Number.POSITIVE_INFINITY : hopeless * best);
          first ??= ms;
          ready.set(keyOf(candidate.choices), candidate);
          times.push(ms);
        }
        return times;
      },
      onMeasured: (tried, best) => tell(tried, first === undefined ? 1 : first / best),
    });
    if (!found) return undefined;
    const own = ready.get(keyOf({}));
    const front = found.front.flatMap((choices) => ready.get(keyOf(choices)) ?? []);
    if (!own) return undefined;
    const [before, ...after] = await compared([own, ...front.filter((candidate) => candidate !== own)]);
    const [best] = after.sort((a, b) => a.ms - b.ms);
    if (!before) return undefined;
    const isBetter = best !== undefined && best.ms < before.ms * (1 - leastGain);
    // Not to be taken for searched what was given no time.
    if (!isBetter && isOver()) return undefined;
    const taken = isBetter ? best : before;
    return {
      kernel: kernelKey(group),
      name: group.name,
      hardware: hardwareKey(hardware),
      choices: taken.candidate.choices,
      milliseconds: [round(before.ms), round(taken.ms)],
      sameBits: taken.candidate.agreement === "same bits",
    };
  } finally {
    kernel.close();
  }
}

/** All in turn, so that what else the machine does meets all: the median of the least times of each. */
async function compared(
  candidates: readonly Candidate[],
): Promise<{ readonly candidate: Candidate; readonly ms: number }[]> {
  const times = candidates.map(() => [] as number[]);
  for (let i = 0; i < rounds; i++)
    for (const [j, candidate] of candidates.entries())
      times[j]?.push((await candidate.time(Number.POSITIVE_INFINITY)) ?? Number.POSITIVE_INFINITY);
  return candidates.map((candidate, j) => {
    const sorted = (times[j] ?? []).sort((a, b) => a - b);
    return { candidate, ms: sorted[sorted.length >> 1] ?? Number.POSITIVE_INFINITY };
  });
}

const round = (ms: number): number => Number(ms.toPrecision(4));
