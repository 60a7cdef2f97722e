/** Blocks of memory that are turned in registers. Where the lanes of a vector lie in as many rows of memory and other loads read the
 *  columns beside it, whole vectors of each row are loaded, and exchanged in log₂ steps: half of the work of loading lanes, or less.
 *  Source: Eklundh 1972, "A fast computer method for matrix transposing". */
import { topological } from "../../ir/fn.ts";
import { dtypeOf, type Node } from "../../ir/node.ts";
import { affine } from "../../ops/indexing.ts";
import { type LoadNode, type RangeNode, reaches } from "../nests.ts";
import { firstOf, sizeOf } from "../products/pair-product.ts";

/** A load, or a word, of one column of a block. */
export interface Column {
  /** The load of the block's first column. */
  readonly first: Node;
  readonly place: number;
  /** Columns of the block: as many as there are lanes, or fewer. */
  readonly count: number;
}

/** Fewer columns than this are loaded, or stored, lane by lane. */
export const FEWEST_COLUMNS = 4;

/** What is read from memory as one: an element, or a word of several. */
export function placeOf(n: Node): { readonly first: LoadNode | undefined; readonly size: number } {
  if (n.op === "load") return { first: n, size: 1 };
  const first = firstOf(n);
  return { first, size: first ? sizeOf(first) : 1 };
}

/** The columns of blocks among the loads below some nodes. */
export function columnsIn(roots: readonly Node[], lane: RangeNode): Map<Node, Column> {
  const { extent } = lane.attr;
  const rows = new Map<string, Map<number, Node>>();
  for (const load of topological(roots)) {
    const { first, size } = placeOf(load);
    if (!first) continue;
    const [buffer, index, mask] = first.src as [Node, Node, Node | undefined];
    const { terms, constant } = affine(index);
    const stride = terms.get(lane);
    if (mask || stride === undefined || Math.abs(stride) < size * extent) continue;
    if (dtypeOf(load) === "bool" || [...terms.keys()].some((atom) => atom !== lane && reaches(atom, lane))) continue;
    const key = [size, buffer.id, ...[...terms].map(([atom, k]) => `${atom.id}·${k}`).sort()].join(" ");
    let row = rows.get(key);
    if (!row) rows.set(key, (row = new Map()));
    row.set(constant / size, load);
  }
  const found = new Map<Node, Column>();
  for (const row of rows.values())
    for (const run of runsBeside([...row])) {
      for (let at = 0; at < run.length; at += extent) {
        const block = run.slice(at, at + extent) as [Node, ...Node[]];
        const [first] = block;
        const count = block.length;
        if (count >= (first.op === "load" ? FEWEST_COLUMNS : extent))
          block.forEach((load, place) => found.set(load, { first, place, count }));
      }
    }
  return found;
}

/** What lies side by side, in runs. */
export function runsBeside<T>(placed: readonly (readonly [at: number, what: T])[]): T[][] {
  const runs: T[][] = [];
  let next: number | undefined;
  for (const [at, what] of [...placed].sort(([a], [b]) => a - b)) {
    if (at === next) runs.at(-1)?.push(what);
    else runs.push([what]);
    next = at + 1;
  }
  return runs;
}

/** Whether the loop is as long as a vector and goes along rows in which lanes lie: its iterations, written out, read a block. */
export const goesAlongRows = (value: Node, loop: RangeNode, lane: RangeNode): boolean =>
  loop.attr.extent === lane.attr.extent &&
  topological([value], (n) => n.op !== "accumulate").some((load) => {
    const { first, size } = placeOf(load);
    if (!first || first.src.length > 2) return false;
    const { terms } = affine(first.src[1] as Node);
    return terms.get(loop) === size && Math.abs(terms.get(lane) ?? 0) >= size * lane.attr.extent;
  });

/** The columns of a block, by steps that exchange parts of pairs of vectors.
 *  @param exchange  the vector of every other `distance` lanes of two: of the lower ones, or of the upper ones */
export function turned<T>(rows: readonly T[], exchange: (a: T, b: T, distance: number, upper: boolean) => T): T[] {
  let left = [...rows];
  for (let distance = rows.length / 2; distance >= 1; distance /= 2)
    left = left.map((x, i) => {
      const upper = (i & distance) !== 0;
      const other = left[i ^ distance] as T;
      return upper ? exchange(other, x, distance, true) : exchange(x, other, distance, false);
    });
  return left;
}
