/** Applying BPE merges to one piece: the pair of least rank is merged first, the leftmost of equals, until no pair has a
 *  rank. Short pieces are scanned again after each merge; long ones use a heap, so that a megabyte without a space takes
 *  n log n steps and not n squared. Both give the same symbols. */

import type { PairTable } from "./pair-table.ts";

/** The merges of a vocabulary. The index of a pair in `pairs` is its rank; `results[rank]` is the id it becomes. */
export interface MergeRanks {
  readonly pairs: PairTable;
  readonly results: Int32Array;
}

/** Above this many symbols the heap is faster than scanning. */
const scanLimit = 48;

/** Merges `symbols[0..length)` in place and returns how many symbols are left. */
export function mergeSymbols(symbols: Int32Array, length: number, ranks: MergeRanks): number {
  return length <= scanLimit ? mergeByScan(symbols, length, ranks) : mergeByHeap(symbols, length, ranks);
}

export function mergeByScan(symbols: Int32Array, length: number, { pairs, results }: MergeRanks): number {
  let left = length;
  while (left > 1) {
    let best = results.length;
    let at = -1;
    for (let i = 0; i + 1 < left; i++) {
      const rank = pairs.find(symbols[i] ?? 0, symbols[i + 1] ?? 0);
      if (rank >= 0 && rank < best) {
        best = rank;
        at = i;
      }
    }
    if (at < 0) break;
    symbols[at] = results[best] ?? 0;
    symbols.copyWithin(at + 1, at + 2, left);
    left--;
  }
  return left;
}

export function mergeByHeap(symbols: Int32Array, length: number, { pairs, results }: MergeRanks): number {
  const next = new Int32Array(length);
  const previous = new Int32Array(length);
  for (let i = 0; i < length; i++) {
    next[i] = i + 1 < length ? i + 1 : -1;
    previous[i] = i - 1;
  }
  const heap = new CandidateHeap(length);
  const consider = (at: number): void => {
    const after = at < 0 ? -1 : (next[at] ?? -1);
    if (after < 0) return;
    const rank = pairs.find(symbols[at] ?? 0, symbols[after] ?? 0);
    if (rank >= 0) heap.push(rank, at);
  };
  for (let i = 0; i + 1 < length; i++) consider(i);

  while (heap.size > 0) {
    const rank = heap.topRank;
    const at = heap.topPosition;
    heap.pop();
    const after = symbols[at] === gone ? -1 : (next[at] ?? -1);
    // A candidate is stale when either of its symbols has been merged into something else since.
    if (after < 0 || pairs.find(symbols[at] ?? 0, symbols[after] ?? 0) !== rank) continue;
    symbols[at] = results[rank] ?? 0;
    symbols[after] = gone;
    const following = next[after] ?? -1;
    next[at] = following;
    if (following >= 0) previous[following] = at;
    consider(previous[at] ?? -1);
    consider(at);
  }

  let left = 0;
  for (let i = 0; i < length; i++) if (symbols[i] !== gone) symbols[left++] = symbols[i] ?? 0;
  return left;
}

const gone = -1;

/** Binary min-heap of (rank, position), least rank first, leftmost among equals. */
class CandidateHeap {
  #ranks: Int32Array;
  #positions: Int32Array;
  #size = 0;

  constructor(expected: number) {
    this.#ranks = new Int32Array(Math.max(16, expected));
    this.#positions = new Int32Array(Math.max(16, expected));
  }

  get size(): number {
    return this.#size;
  }

  get topRank(): number {
    return this.#ranks[0] ?? 0;
  }

  get topPosition(): number {
    return this.#positions[0] ?? 0;
  }

  push(rank: number, position: number): void {
    if (this.#size === this.#ranks.length) {
      this.#ranks = doubled(this.#ranks);
      this.#positions = doubled(this.#positions);
    }
    let hole = this.#size++;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if (!this.#before(rank, position, parent)) break;
      this.#move(parent, hole);
      hole = parent;
    }
    this.#ranks[hole] = rank;
    this.#positions[hole] = position;
  }

  pop(): void {
    const size = --this.#size;
    const rank = this.#ranks[size] ?? 0;
    const position = this.#positions[size] ?? 0;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#before(this.#ranks[child + 1] ?? 0, this.#positions[child + 1] ?? 0, child))
        child++;
      if (this.#before(rank, position, child)) break;
      this.#move(child, hole);
      hole = child;
    }
    this.#ranks[hole] = rank;
    this.#positions[hole] = position;
  }

  #before(rank: number, position: number, at: number): boolean {
    const other = this.#ranks[at] ?? 0;
    return rank < other || (rank === other && position < (this.#positions[at] ?? 0));
  }

  #move(from: number, to: number): void {
    this.#ranks[to] = this.#ranks[from] ?? 0;
    this.#positions[to] = this.#positions[from] ?? 0;
  }
}

function doubled(values: Int32Array): Int32Array {
  const grown = new Int32Array(values.length * 2);
  grown.set(values);
  return grown;
}
