/** What a random graph grows from: numbers that decide each step, and the values that there are so far. */
import { dimsEqual } from "../../core/src/ir/dim.ts";
import { type DType, dtypes, isFull } from "../../core/src/ir/dtype.ts";
import { dimsOf, dtypeOf, type Node } from "../../core/src/ir/node.ts";
import * as b from "../../core/src/ops/build.ts";

/** Numbers drawn one after another from a step; 0 once it is used up. */
export type Draw = (below: number) => number;
export const drawFrom = (numbers: readonly number[]): Draw => {
  let at = 0;
  return (below) => (below <= 1 ? 0 : (numbers[at++] ?? 0) % below);
};

export const pick = <T>(draw: Draw, items: readonly T[]): T => items[draw(items.length)] as T;

export interface Pool {
  readonly nodes: Node[];
  readonly dtypes: readonly DType[];
}

/** A node of the dtype and dims of `like`, from the pool where one is there. */
export function matching(draw: Draw, { nodes }: Pool, like: Node, dtype: DType = dtypeOf(like)): Node {
  const fit = nodes.filter((n) => dtypeOf(n) === dtype && dimsEqual(dimsOf(n), dimsOf(like)));
  if (fit.length > 0) return pick(draw, fit);
  return b.fill(b.scalar(draw(5), dtype), dimsOf(like));
}

export const ofKind = (pool: Pool, ...kinds: string[]): Node[] =>
  pool.nodes.filter((n) => isFull(dtypeOf(n)) && kinds.includes(dtypes[dtypeOf(n)].kind));
