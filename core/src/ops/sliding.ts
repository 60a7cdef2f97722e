/** What windows that slide over the last axes of an array are: how many there are, what they read, which settings are refused. Shared by
 *  convolutions and by the ops that combine the elements of a window. */
import { ShapeError } from "../errors.ts";
import { stridesOf, view } from "../interpreter/layout.ts";
import { sizeOfDims, type Value } from "../interpreter/value.ts";
import { type Attrs, dimsOf, type Node, type WindowSteps } from "../ir/node.ts";
import { typeText } from "../ir/type.ts";
import { build } from "./build.ts";
import { addIndex, knownDims, mulIndex } from "./indexing.ts";

/** Windows' steps, what a convolution pads with, and where its source is padded already. */
export type Steps = WindowSteps & Partial<Pick<Attrs["conv"], "low" | "high" | "zeros">>;

export const ones = (n: number): number[] => Array.from({ length: n }, () => 1);
export const all = (n: number, value: number): number[] => Array.from({ length: n }, () => value);
export const rangeOf = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

/** How many windows of `size` elements, `dilation` apart, start every `stride` of `length` elements. */
export const windowCount = (length: number, size: number, stride: number, dilation: number): number =>
  Math.max(0, Math.floor((length - dilation * (size - 1) - 1) / stride) + 1);

/** Whether there is no window at all: then nothing flows, and the formulas for what is left over do not hold. */
export const isEmpty = (y: Node): boolean => sizeOfDims(knownDims(y)) === 0;

export function checkSteps(
  op: string,
  x: Node,
  lead: number,
  { strides, dilations, low = [], high = [] }: Steps,
): void {
  const n = dimsOf(x).length - lead;
  const isBad = (list: readonly number[], least: number): boolean =>
    list.some((s) => !Number.isInteger(s) || s < least);
  if (n < 0 || strides.length !== n || dilations.length !== n || isBad([...strides, ...dilations], 1))
    throw new ShapeError(
      `${op}: expected a stride and a dilation of at least 1 for each of the last axes of ${typeText(x.type)}, got [${strides.join(", ")}] and [${dilations.join(", ")}]`,
    );
  if (low.length !== high.length || isBad([...low, ...high], 0) || (op === "conv" && low.length !== n))
    throw new ShapeError(
      `${op}: expected zeros before and after each of the ${n} last axes, got [${low.join(", ")}] and [${high.join(", ")}]`,
    );
}

export const countsOf = (
  dims: readonly number[],
  sizes: readonly number[],
  { strides, dilations, low = [], high = [] }: Steps,
): number[] =>
  sizes.map((k, i) =>
    windowCount((dims[i] as number) + (low[i] ?? 0) + (high[i] ?? 0), k, strides[i] as number, dilations[i] as number),
  );

/** Remainders of a division, and which elements of a window each of them has: from the one on, up to before the other. */
export interface Remainders {
  readonly from: number;
  readonly to: number;
  readonly begin: number;
  readonly end: number;
}

/** The remainders of a division by n of the places in a window with so many elements before it, those of the same elements together: a window
 *  of 3 in steps of 2 has two elements of the one, and one of the other, for which no second one is to be multiplied. */
export function remaindersOf(n: number, before: number, window: number): Remainders[] {
  const all: Remainders[] = [];
  for (let r = 0; r < n; r++) {
    const begin = Math.ceil(Math.max(0, before - r) / n);
    const end = Math.ceil((before + window - r) / n);
    const last = all.at(-1);
    if (last?.begin === begin && last.end === end) all[all.length - 1] = { ...last, to: r + 1 };
    else all.push({ from: r, to: r + 1, begin, end });
  }
  return all;
}

/** x seen through windows: [...dims before the windowed axes, ...windows, ...places in a window]. */
export function windows(x: Value, lead: number, counts: readonly number[], sizes: readonly number[], at: Steps): Value {
  const strides = stridesOf(x.dims);
  const space = strides.slice(lead);
  return view(x, [...x.dims.slice(0, lead), ...counts, ...sizes], {
    offset: 0,
    strides: [
      ...strides.slice(0, lead),
      ...space.map((s, i) => s * (at.strides[i] as number)),
      ...space.map((s, i) => s * (at.dilations[i] as number)),
    ],
  });
}

/** The indices into the windowed axes: place k of window p. */
export const within = (p: readonly Node[], k: readonly Node[], { strides, dilations }: Steps): Node[] =>
  p.map((at, i) => addIndex(mulIndex(at, strides[i] as number), mulIndex(k[i] as Node, dilations[i] as number)));

export const accumulated = (attr: Attrs["accumulate"], value: Node, ranges: readonly Node[]): Node => {
  const long = ranges.filter((r) => r.op === "range");
  return long.length === 0 ? value : build("accumulate", [value, ...long], attr);
};
