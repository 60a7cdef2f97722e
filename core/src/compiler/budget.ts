/** A plan within a budget of memory: where too much is alive, values are dropped and computed again right before their next use.
 *
 *    %h = a(%x) … the peak … b(%h)      →      %h = a(%x) … the peak … %h′ = a(%x), b(%h′)
 *
 *  Greedily, as in dynamic tensor rematerialisation (Kirisame et al. 2021, arXiv:2006.09616): at the step where the most is alive, the
 *  value that frees the most bytes for the least work, the work counting all that must be computed again to get it, until the peak
 *  fits. The same kernels run on the same values, so no bit changes. */
import { OutOfMemoryError } from "../errors.ts";
import { mib, sizeClass } from "../runtime/pool.ts";
import { aliveBytes, arenaBytesOf, holdersAt, isTemporary, resultBytesOf, type Spans, spansOf } from "./footprint.ts";
import type { Draft, Fit, Layout, Scheduled } from "./layout.ts";
import { planMemory, renamed, type Use } from "./memory-plan.ts";

interface Schedule {
  readonly values: Layout["values"];
  readonly steps: readonly Scheduled[];
  readonly uses: readonly Use[];
  readonly spans: Spans;
  readonly alive: readonly number[];
  readonly peak: number;
}

/** How many values one repetition may drag along. */
const mostRepeated = 24;
/** Choices at one peak that are tried before it is given up. */
const tries = 16;

/** At most that many bytes for the arguments, results and temporaries of a jitted call: an option of `jit`. What does not fit is
 *  computed again where it is needed next.
 *  @throws (from the compilation of a call) OutOfMemoryError that names the largest values, where even that is not enough
 *  @example const step = jit(update, { fit: memoryBudget(256 * 2 ** 20) }); */
export const memoryBudget =
  (bytes: number): Fit =>
  (draft) => {
    const steps = draft.uses.map((_, origin): Scheduled => ({ origin, rename: new Map() }));
    let now = scheduled(draft, draft.values, steps);
    let target = Number.POSITIVE_INFINITY;
    for (;;) {
      const memory = planMemory(now.values, now.uses, draft.outputs, draft.alignment, draft.donated, draft.mostBytes);
      const fixed =
        now.values.reduce((sum, { input, bytes: own }) => sum + (input === undefined ? 0 : sizeClass(own)), 0) +
        resultBytesOf(now.values, memory);
      const arena = arenaBytesOf(memory.blocks);
      if (fixed + arena <= bytes) return { values: now.values, steps: now.steps };
      // Gaps between values and the pool's size classes take some of it: what is alive must be less by as much.
      target = Math.min(target - 1, now.peak - 1, (bytes - fixed) * (now.peak / Math.max(arena, 1)));
      const less = target > 0 ? reduced(draft, now, target) : now;
      if (less === now) throw tooLittle(draft, now, bytes, fixed + arena);
      now = less;
    }
  };

function tooLittle(draft: Draft, now: Schedule, budget: number, needed: number): OutOfMemoryError {
  const largest = holdersAt(now, now.spans, now.alive.indexOf(now.peak)).slice(0, 5);
  return new OutOfMemoryError(
    `${draft.name}: a budget of ${mib(budget)} is not enough: with all that helps computed again it takes ${mib(needed)}`,
    {
      hint: `the largest at the peak: ${largest.map(({ bytes, kind, name }) => `${mib(bytes)} ${kind} ${name}`).join("; ")}. Make the batch smaller, donate what is given up, or allow more`,
    },
  );
}

function scheduled(draft: Draft, values: Layout["values"], steps: readonly Scheduled[]): Schedule {
  const uses = steps.map(({ origin, rename }) => renamed(draft.uses[origin] as Use, rename));
  const spans = spansOf(values, uses);
  const alive = aliveBytes(values, uses, spans);
  return { values, steps, uses, spans, alive, peak: alive.reduce((a, b) => Math.max(a, b), 0) };
}

/** Repeats steps until at most `target` bytes are alive anywhere, or nothing helps any more. */
function reduced(draft: Draft, start: Schedule, target: number): Schedule {
  let now = start;
  while (now.peak > target) {
    const at = now.alive.indexOf(now.peak);
    const before = now;
    const better = candidates(draft, now, at)
      .slice(0, tries)
      .map((c) => applied(draft, before, c))
      .find((next) => next.peak < before.peak || (next.peak === before.peak && peaks(next) < peaks(before)));
    if (!better) return now;
    now = better;
  }
  return now;
}

const peaks = ({ alive, peak }: Schedule): number => alive.reduce((n, bytes) => (bytes === peak ? n + 1 : n), 0);

/** A value dropped before a peak: the steps to repeat, in order, before the step of its next use. */
interface Candidate {
  readonly value: number;
  readonly before: number;
  readonly repeat: readonly number[];
  readonly gain: number;
}

/** By what a byte that is freed costs, the cheapest first. */
function candidates(draft: Draft, now: Schedule, at: number): Candidate[] {
  const { values, spans } = now;
  const usedAt = usesOf(now);
  const maker = makersOf(now);
  const found: Candidate[] = [];
  values.forEach((value, v) => {
    if (!isTemporary(value) || (spans.first[v] as number) >= at || (spans.last[v] as number) <= at) return;
    const before = (usedAt[v] as readonly number[]).find((step) => step >= at);
    if (before === undefined || before === at) return;
    const repeat = repetition(draft, now, maker, v, before, at);
    if (!repeat) return;
    const work = repeat.reduce((sum, step) => sum + (now.uses[step] as Use).work, 0);
    found.push({ value: v, before, repeat, gain: value.bytes / (1 + work) });
  });
  return found.sort((a, b) => b.gain - a.gain);
}

function usesOf({ values, uses }: Schedule): number[][] {
  const used: number[][] = values.map(() => []);
  uses.forEach(({ reads, writes }, step) => {
    for (const v of [...reads, ...writes]) if (v >= 0 && used[v]?.at(-1) !== step) used[v]?.push(step);
  });
  return used;
}

function makersOf({ uses }: Schedule): Map<number, number> {
  const maker = new Map<number, number>();
  uses.forEach(({ writes }, step) => {
    for (const v of writes) if (!maker.has(v)) maker.set(v, step);
  });
  return maker;
}

/** The steps that make a value again from what is there before a step; undefined where that is too much, or not possible. */
function repetition(
  draft: Draft,
  { values, uses, steps, spans }: Schedule,
  maker: ReadonlyMap<number, number>,
  value: number,
  before: number,
  peak: number,
): number[] | undefined {
  const repeat = new Set<number>();
  const isThere = (v: number): boolean => {
    if (!isTemporary(values[v])) return true;
    // Alive there anyway, or kept from a step behind the peak.
    return v !== value && (spans.first[v] as number) < before && (spans.last[v] as number) > peak;
  };
  const stack = [value];
  for (let v = stack.pop(); v !== undefined; v = stack.pop()) {
    const step = maker.get(v);
    if (step === undefined || !draft.repeatable[(steps[step] as Scheduled).origin]) return undefined;
    if (repeat.has(step)) continue;
    repeat.add(step);
    if (repeat.size > mostRepeated) return undefined;
    for (const r of (uses[step] as Use).reads) if (r >= 0 && !isThere(r)) stack.push(r);
  }
  return [...repeat].sort((a, b) => a - b);
}

/** The schedule with the steps repeated, and later uses of the value reading the new one. */
function applied(draft: Draft, now: Schedule, { value, before, repeat }: Candidate): Schedule {
  const values = [...now.values];
  const fresh = new Map<number, number>();
  const copies = repeat.map((step): Scheduled => {
    const { origin } = now.steps[step] as Scheduled;
    const { reads, writes } = now.uses[step] as Use;
    const original = draft.uses[origin] as Use;
    const rename = new Map<number, number>();
    original.reads.forEach((v, i) => {
      const own = reads[i] as number;
      rename.set(v, fresh.get(own) ?? own);
    });
    original.writes.forEach((v, i) => {
      const own = writes[i] as number;
      const { bytes, node } = now.values[own] as Layout["values"][number];
      fresh.set(own, values.push({ bytes, node }) - 1);
      rename.set(v, fresh.get(own) as number);
    });
    return { origin, rename };
  });
  const instead = fresh.get(value) as number;
  const later = now.steps.slice(before).map((step, i): Scheduled => {
    const { reads } = now.uses[before + i] as Use;
    if (!reads.includes(value)) return step;
    const original = draft.uses[step.origin] as Use;
    const rename = new Map(step.rename);
    original.reads.forEach((v, k) => {
      if (reads[k] === value) rename.set(v, instead);
    });
    return { origin: step.origin, rename };
  });
  return scheduled(draft, values, [...now.steps.slice(0, before), ...copies, ...later]);
}
