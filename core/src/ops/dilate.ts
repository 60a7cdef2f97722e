/** Zeros between the elements of an array, and around them: what the derivatives of windows read. */
import type { Node } from "../ir/node.ts";
import { pad, reshape, slice } from "./build.ts";
import { knownDims } from "./indexing.ts";

const all = (n: number, value: number): number[] => Array.from({ length: n }, () => value);

/** x with step − 1 zeros between neighbours on its last axes, and more (or fewer) elements before and after. */
export function dilate(x: Node, steps: readonly number[], low: readonly number[], high: readonly number[]): Node {
  const dims = knownDims(x);
  const rank = dims.length;
  const lead = rank - steps.length;
  const space = dims.slice(lead);
  let y = x;
  if (steps.some((s) => s > 1)) {
    const split = [...dims.slice(0, lead), ...space.flatMap((d) => [d, 1])];
    const gaps = [...all(lead, 0), ...steps.flatMap((s) => [0, s - 1])];
    const spread = pad(reshape(x, split), all(split.length, 0), gaps);
    const joined = reshape(spread, [...dims.slice(0, lead), ...space.map((d, i) => d * (steps[i] as number))]);
    const kept = space.map((d, i) => Math.max(0, (d - 1) * (steps[i] as number) + 1));
    y = slice(joined, all(rank, 0), [...dims.slice(0, lead), ...kept]);
  }
  if ([...low, ...high].some((a) => a < 0)) {
    const size = knownDims(y)
      .slice(lead)
      .map((d, i) => d + Math.min(low[i] as number, 0) + Math.min(high[i] as number, 0));
    y = slice(y, [...all(lead, 0), ...low.map((l) => Math.max(-l, 0))], [...dims.slice(0, lead), ...size]);
  }
  const grow = (amounts: readonly number[]): number[] => [...all(lead, 0), ...amounts.map((a) => Math.max(a, 0))];
  return pad(y, grow(low), grow(high));
}
