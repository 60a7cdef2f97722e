/** What a schedule leaves open, and what may be chosen for it. A schedule asks by names (`plan.choose`), so the decisions of a kernel are
 *  found by scheduling it and listening. */
import { lowered } from "../compiler/kernels.ts";
import type { Fn } from "../ir/fn.ts";
import { schedule } from "../kernel/index.ts";
import type { Choose } from "../kernel/plan.ts";
import type { HardwareModel } from "../runtime/hardware.ts";

/** Numbers by the names of decisions; the heuristic decides what is not among them. */
export type Choices = Readonly<Record<string, number>>;

/** A question that a schedule asked. */
export interface Decision {
  readonly name: string;
  /** What the heuristic says. */
  readonly otherwise: number;
}

/** Who answers by choices. */
export const chooserOf =
  (choices: Choices): Choose =>
  (name, otherwise) =>
    Object.hasOwn(choices, name) ? (choices[name] as number) : otherwise;

/** The decisions of a kernel's schedule under some choices, in the order in which they first come up.
 *  @throws ScheduleError for choices that make no schedule */
export function decisionsOf(group: Fn, hardware: HardwareModel, choices: Choices): Decision[] {
  const found = new Map<string, Decision>();
  const choose = chooserOf(choices);
  schedule(lowered(group), hardware, (name, otherwise) => {
    if (!found.has(name)) found.set(name, { name, otherwise });
    return choose(name, otherwise);
  });
  return [...found.values()];
}

/** What each decision may be, and what it means. */
export const meanings: Readonly<Record<string, { readonly values: readonly number[]; readonly about: string }>> = {
  rows: { values: [1, 2, 3, 4, 5, 6, 8, 10, 12, 14], about: "rows of a product's register tile" },
  vectors: { values: [1, 2, 3, 4, 6, 8], about: "vectors of columns of a product's register tile" },
  pack: { values: [0, 1], about: "whether operands of a product are copied into panels" },
  packColumns: { values: [0, 1], about: "whether the one with the columns is" },
  packRows: { values: [0, 1], about: "whether the one with the rows is" },
  matrix: { values: [0, 1], about: "whether a product goes by the processor's matrix registers" },
  block: { values: [1, 4, 8, 16, 32, 64, 96], about: "tiles of rows that go over the columns together" },
  unroll: { values: [1, 2, 4, 8], about: "vectors side by side of element-wise loops" },
  side: { values: [1, 2, 4, 8], about: "vectors side by side of sums along another axis" },
  parts: { values: [8, 16, 32], about: "partial sums of a reduction" },
};

/** Decisions that change the order of a sum, and with it the last bits of results. */
export const reorders: ReadonlySet<string> = new Set(["parts", "matrix"]);

/** Decisions that are one: each alone would leave the registers idle, or not fit into them. */
const together: readonly (readonly [string, string])[] = [["rows", "vectors"]];

/** What differs from some choices in one decision, or in two that belong together, in a fixed order. */
export function neighbours(
  choices: Choices,
  decisions: readonly Decision[],
  { hardware, reorder }: { readonly hardware: HardwareModel; readonly reorder: boolean },
): Choices[] {
  const open = decisions.filter(({ name }) => meanings[name] && (reorder || !reorders.has(name)));
  const now = (name: string): number | undefined => {
    const decision = open.find((d) => d.name === name);
    return decision && chooserOf(choices)(name, decision.otherwise);
  };
  const others = ({ name }: Decision): number[] => (meanings[name]?.values ?? []).filter((v) => v !== now(name));
  const single = open.flatMap((d) => others(d).map((value) => ({ ...choices, [d.name]: value })));
  const pairs = together.flatMap(([first, second]) => {
    const [a, b] = [first, second].map((name) => open.find((d) => d.name === name));
    if (!a || !b) return [];
    return others(a).flatMap((x) => others(b).map((y) => ({ ...choices, [first]: x, [second]: y })));
  });
  return [...single, ...pairs].map((made) => essential(made, open)).filter((made) => fits(made, open, hardware));
}

/** Without what the heuristic would choose anyway. */
const essential = (choices: Choices, decisions: readonly Decision[]): Choices =>
  Object.fromEntries(
    Object.entries(choices)
      .filter(([name, value]) => decisions.find((d) => d.name === name)?.otherwise !== value)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );

/** Whether the accumulators of a tile leave a register for the operands: beyond that they are kept in memory. */
function fits(choices: Choices, decisions: readonly Decision[], { limits }: HardwareModel): boolean {
  const size = (by: Choices): number =>
    decisions
      .filter(({ name }) => name === "rows" || name === "vectors")
      .reduce((product, { name, otherwise }) => product * chooserOf(by)(name, otherwise), 1);
  // The heuristic's rows may be more than there are.
  return size(choices) < Math.max(limits.vectorRegisters, size({}) + 1);
}
