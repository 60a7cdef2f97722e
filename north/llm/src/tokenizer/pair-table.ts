/** A hash table from pairs of small integers to dense indices 0, 1, 2 ... in order of insertion, on typed arrays: what
 *  belongs to a pair (a count, a rank) lives in the caller's own array under that index. The BPE trainer counts symbol
 *  pairs with it, the encoder looks merges up in it, the n-gram models build bigrams and trigrams from it. */

/** Open addressing with linear probing, at most half full. Members of a pair are integers in [0, 2^31). */
export class PairTable {
  #slots: Int32Array;
  #left: Int32Array;
  #right: Int32Array;
  #size = 0;

  constructor(expected = 16) {
    let slots = 32;
    while (slots < expected * 2) slots *= 2;
    this.#slots = new Int32Array(slots).fill(-1);
    this.#left = new Int32Array(slots / 2);
    this.#right = new Int32Array(slots / 2);
  }

  get size(): number {
    return this.#size;
  }

  /** First member of the pair with this index. */
  left(index: number): number {
    return this.#left[index] ?? -1;
  }

  /** Second member of the pair with this index. */
  right(index: number): number {
    return this.#right[index] ?? -1;
  }

  /** Index of the pair, or -1. */
  find(left: number, right: number): number {
    return this.#slots[this.#probe(left, right)] ?? -1;
  }

  /** Index of the pair, which is put in if it is new (its index is then the old `size`). */
  add(left: number, right: number): number {
    let slot = this.#probe(left, right);
    const found = this.#slots[slot] ?? -1;
    if (found >= 0) return found;
    if (this.#size === this.#left.length) {
      this.#grow();
      slot = this.#probe(left, right);
    }
    const index = this.#size++;
    this.#left[index] = left;
    this.#right[index] = right;
    this.#slots[slot] = index;
    return index;
  }

  #probe(left: number, right: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = mix(left, right) & mask;
    for (;;) {
      const index = slots[slot] ?? -1;
      if (index < 0 || (this.#left[index] === left && this.#right[index] === right)) return slot;
      slot = (slot + 1) & mask;
    }
  }

  #grow(): void {
    const capacity = this.#left.length * 2;
    const left = new Int32Array(capacity);
    const right = new Int32Array(capacity);
    left.set(this.#left);
    right.set(this.#right);
    const slots = new Int32Array(capacity * 2).fill(-1);
    const mask = slots.length - 1;
    for (let index = 0; index < this.#size; index++) {
      let slot = mix(left[index] ?? 0, right[index] ?? 0) & mask;
      while ((slots[slot] ?? -1) >= 0) slot = (slot + 1) & mask;
      slots[slot] = index;
    }
    this.#left = left;
    this.#right = right;
    this.#slots = slots;
  }
}

/** The finaliser of MurmurHash3 over both members. */
function mix(left: number, right: number): number {
  let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
