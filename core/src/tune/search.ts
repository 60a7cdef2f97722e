/** A beam search over the choices of one kernel: the best few are changed in one decision, or two that belong together, what comes of it is
 *  measured, and the best few of all go on, until a round gains less than a hundredth. */
import type { Choices } from "./choices.ts";

/** What is searched, and how it is measured. */
export interface Search {
  /** Choices near some, in an order that is always the same. */
  readonly neighbours: (choices: Choices) => readonly Choices[];
  /** The milliseconds of each; undefined of what was refused or dropped. Above three times `best` a measurement may end early. */
  readonly measure: (
    candidates: readonly Choices[],
    best: number | undefined,
  ) => Promise<readonly (number | undefined)[]>;
  /** How many go on. */
  readonly beam: number;
  /** Whether the time is over. */
  readonly isOver: () => boolean;
  /** Told of each measured batch. */
  readonly onMeasured?: (tried: number, best: number) => void;
}

/** The end of a search. */
export interface Searched {
  /** The best few, the best first. A measurement may be wrong by what else the machine does: they are to be compared once more. */
  readonly front: readonly Choices[];
  readonly tried: number;
}

/** A round that gains less than this part is the last. */
const leastGain = 0.01;
/** Candidates that are made ready at once: more are built together, fewer are stopped sooner. */
const batch = 8;

/** @returns undefined where the heuristic's own schedule could not be measured */
export async function search({ neighbours, measure, beam, isOver, onMeasured }: Search): Promise<Searched | undefined> {
  const [before] = await measure([{}], undefined);
  if (before === undefined) return undefined;
  const seen = new Set([keyOf({})]);
  let front: { readonly choices: Choices; readonly ms: number }[] = [{ choices: {}, ms: before }];
  let [best] = front;
  while (best && !isOver()) {
    const candidates: Choices[] = [];
    for (const { choices } of front)
      for (const next of neighbours(choices)) {
        if (seen.has(keyOf(next))) continue;
        seen.add(keyOf(next));
        candidates.push(next);
      }
    const found: typeof front = [];
    let least = best.ms;
    for (let i = 0; i < candidates.length && !isOver(); i += batch) {
      const some = candidates.slice(i, i + batch);
      const times = await measure(some, least);
      some.forEach((choices, j) => {
        const ms = times[j];
        if (ms !== undefined) found.push({ choices, ms });
      });
      least = Math.min(least, ...found.map(({ ms }) => ms));
      onMeasured?.(seen.size, least);
    }
    const last = best.ms;
    front = [...front, ...found].sort((a, b) => a.ms - b.ms).slice(0, beam);
    [best = best] = front;
    if (best.ms > last * (1 - leastGain)) break;
  }
  return { front: front.map(({ choices }) => choices), tried: seen.size };
}

/** Choices as a word: equal for equal ones. */
export const keyOf = (choices: Choices): string =>
  Object.entries(choices)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
