/** What a plan asks of memory, known before it runs: arguments, results and the arena of temporaries, in the sizes that the pool
 *  gives out; and who holds it at the step where the most is alive. */
import { isTuple, typeText } from "../ir/type.ts";
import { sizeClass } from "../runtime/pool.ts";
import type { Plan } from "../runtime/program.ts";
import type { MemoryPlan, Use, Value } from "./memory-plan.ts";
import type { Layout } from "./layout.ts";

/** A value that lives at the peak. */
export interface Holder {
  readonly bytes: number;
  readonly kind: "argument" | "result" | "temporary" | "scratch";
  /** `f32[8, 128] dot`, and the user's line where it is known. */
  readonly name: string;
}

/** What a program holds at its peak, and which values hold it. */
export interface Footprint {
  /** The most that is in use while the plan runs. All bytes are those of the pool. */
  readonly peakBytes: number;
  readonly argumentBytes: number;
  /** Of results that do not take over an argument's memory. */
  readonly resultBytes: number;
  /** Of temporaries, which share blocks. */
  readonly arenaBytes: number;
  /** The step at which the most is alive, counted from 0, and the largest values that are alive there. */
  readonly step: number;
  readonly holders: readonly Holder[];
}

const shown = 12;

/** @example (await footprint(step, batch)).peakBytes */
export function footprintOf({ layout, blocks }: Pick<Plan, "layout" | "blocks">): Footprint {
  const { values, memory, uses } = layout;
  const argumentBytes = sum(values.filter((v) => v.input !== undefined));
  const resultBytes = resultBytesOf(values, memory);
  const arena = arenaBytesOf(blocks);
  const spans = spansOf(values, uses);
  const alive = aliveBytes(values, uses, spans);
  const step = alive.indexOf(Math.max(...alive));
  return {
    peakBytes: argumentBytes + resultBytes + arena,
    argumentBytes,
    resultBytes,
    arenaBytes: arena,
    step: Math.max(step, 0),
    holders: holdersAt(layout, spans, step).slice(0, shown),
  };
}

/** Of the blocks in which temporaries lie. */
export const arenaBytesOf = (blocks: readonly number[]): number => blocks.reduce((total, b) => total + sizeClass(b), 0);

const sum = (values: readonly Value[]): number => values.reduce((total, { bytes }) => total + sizeClass(bytes), 0);

export const resultBytesOf = (values: readonly Value[], { reuse }: Pick<MemoryPlan, "reuse">): number =>
  sum(values.filter(({ output }) => output !== undefined && (reuse[output] ?? -1) < 0));

export interface Spans {
  readonly first: readonly number[];
  readonly last: readonly number[];
}

/** The first and the last step that touches each value; −1 for none. */
export function spansOf(values: readonly Value[], uses: readonly Use[]): Spans {
  const first = values.map(() => -1);
  const last = values.map(() => -1);
  uses.forEach(({ reads, writes }, step) => {
    for (const v of [...reads, ...writes]) {
      if (v < 0) continue;
      if (first[v] === -1) first[v] = step;
      last[v] = step;
    }
  });
  return { first, last };
}

export const isTemporary = (value: Value | undefined): boolean =>
  value?.input === undefined && value?.output === undefined;

/** Bytes of temporaries and scratch memory that are alive at each step. */
export function aliveBytes(values: readonly Value[], uses: readonly Use[], { first, last }: Spans): number[] {
  const change = new Float64Array(uses.length + 1);
  values.forEach((value, v) => {
    if (!isTemporary(value) || first[v] === -1) return;
    change[first[v] as number] = (change[first[v] as number] as number) + value.bytes;
    change[(last[v] as number) + 1] = (change[(last[v] as number) + 1] as number) - value.bytes;
  });
  let now = 0;
  return uses.map(({ scratch }, step) => {
    now += change[step] as number;
    return now + scratch;
  });
}

/** The largest values first. */
export function holdersAt({ values, uses }: Pick<Layout, "values" | "uses">, spans: Spans, step: number): Holder[] {
  const found: Holder[] = [];
  values.forEach((value, v) => {
    const { bytes, input, output, node } = value;
    const alive =
      (spans.first[v] as number) >= 0 && (spans.first[v] as number) <= step && (spans.last[v] as number) >= step;
    if (input === undefined && output === undefined && !alive) return;
    const kind = input !== undefined ? "argument" : output !== undefined ? "result" : "temporary";
    const what = node.op === "param" ? "" : ` ${node.op}`;
    found.push({
      bytes,
      kind,
      name: `${isTuple(node.type) ? "" : typeText(node.type)}${what}${node.site ? ` made at ${node.site}` : ""}`,
    });
  });
  const scratch = uses[step]?.scratch ?? 0;
  if (scratch > 0) found.push({ bytes: scratch, kind: "scratch", name: "memory of the step itself" });
  return found.sort((a, b) => b.bytes - a.bytes);
}
