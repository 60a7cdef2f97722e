/** Applying BPE merges to one piece: the pair of least rank is merged first, the leftmost of equals, until no pair has a
 *  rank. Short pieces keep the rank of each neighbouring pair and look for the least; long ones use a heap, so that a
 *  megabyte without a space takes n log n steps and not n squared. Both give the same symbols. */

/** The merges of a vocabulary, by pair: a hash table with open addressing, at most half full. */
export interface MergeTable {
  /** `left * 2^24 + right` of each slot, or -1. */
  readonly keys: Float64Array;
  /** Rank of each slot's pair. */
  readonly ranks: Int32Array;
  /** The id that the pair of each rank becomes. */
  readonly results: Int32Array;
}

/** @param pairs    left and right id of each merge, in order of rank; of a pair that stands there twice the last counts
 *  @param results  the id that each merge makes */
export function mergeTable(pairs: Int32Array, results: Int32Array): MergeTable {
  let slots = 32;
  while (slots < pairs.length) slots *= 2;
  const keys = new Float64Array(slots).fill(-1);
  const ranks = new Int32Array(slots);
  for (let rank = 0; rank < results.length; rank++) {
    const left = pairs[2 * rank] ?? 0;
    const right = pairs[2 * rank + 1] ?? 0;
    const key = left * radix + right;
    let slot = mix(left, right) & (slots - 1);
    while (keys[slot] !== -1 && keys[slot] !== key) slot = (slot + 1) & (slots - 1);
    keys[slot] = key;
    ranks[slot] = rank;
  }
  return { keys, ranks, results };
}

/** Ids are below 2^24, so that a pair is one exact double. */
const radix = 2 ** 24;
const none = 0x7fffffff;

/** The finaliser of MurmurHash3 over both members. */
function mix(left: number, right: number): number {
  const hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
  const more = Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35);
  return more ^ (more >>> 16);
}

/** Rank of a pair, or 2^31 - 1. */
function rankOf(keys: Float64Array, ranks: Int32Array, left: number, right: number): number {
  const mask = keys.length - 1;
  const key = left * radix + right;
  for (let slot = mix(left, right) & mask; ; slot = (slot + 1) & mask) {
    const found = keys[slot];
    if (found === key) return ranks[slot] ?? none;
    if (found === -1) return none;
  }
}

/** Above this many symbols the heap is faster than looking for the least rank. */
const scanLimit = 200;
const pairRanks = new Int32Array(scanLimit);

/** Merges `symbols[0..length)` in place and returns how many symbols are left. */
export function mergeSymbols(symbols: Int32Array, length: number, table: MergeTable): number {
  return length <= scanLimit ? mergeByScan(symbols, length, table) : mergeByHeap(symbols, length, table);
}

/** @param length at most 200 */
export function mergeByScan(symbols: Int32Array, length: number, { keys, ranks, results }: MergeTable): number {
  let last = length - 1;
  for (let i = 0; i < last; i++) pairRanks[i] = rankOf(keys, ranks, symbols[i] ?? 0, symbols[i + 1] ?? 0);
  while (last > 0) {
    let best = none;
    let at = -1;
    for (let i = 0; i < last; i++) {
      const rank = pairRanks[i] ?? none;
      if (rank < best) {
        best = rank;
        at = i;
      }
    }
    if (at < 0) break;
    const merged = results[best] ?? 0;
    symbols[at] = merged;
    last--;
    for (let i = at + 1; i <= last; i++) symbols[i] = symbols[i + 1] ?? 0;
    for (let i = at + 1; i < last; i++) pairRanks[i] = pairRanks[i + 1] ?? none;
    if (at < last) pairRanks[at] = rankOf(keys, ranks, merged, symbols[at + 1] ?? 0);
    if (at > 0) pairRanks[at - 1] = rankOf(keys, ranks, symbols[at - 1] ?? 0, merged);
  }
  return last + 1;
}

export function mergeByHeap(symbols: Int32Array, length: number, { keys, ranks, results }: MergeTable): number {
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
    const rank = rankOf(keys, ranks, symbols[at] ?? 0, symbols[after] ?? 0);
    if (rank !== none) heap.push(rank, at);
  };
  for (let i = 0; i + 1 < length; i++) consider(i);

  while (heap.size > 0) {
    const rank = heap.topRank;
    const at = heap.topPosition;
    heap.pop();
    const after = symbols[at] === gone ? -1 : (next[at] ?? -1);
    // A candidate is stale when either of its symbols has been merged into something else since.
    if (after < 0 || rankOf(keys, ranks, symbols[at] ?? 0, symbols[after] ?? 0) !== rank) continue;
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
