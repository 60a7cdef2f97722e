/** Pieces of text that were encoded before, with their ids: words repeat, and to find one again costs a tenth of merging it.
 *  Everything lies in typed arrays and is found by the units of the text itself, so that a hit allocates nothing; when an
 *  array is full, all is forgotten. */

/** Pieces longer than this are not remembered: of those the chance to come again is small. */
export const rememberedLength = 48;

/** Slots at first and at most; each doubles the one before. An entry has 8 units and 4 ids on average, or all goes earlier. */
const leastSlots = 1 << 9;
const mostSlots = 1 << 16;
const unitsPerSlot = 8;
const idsPerSlot = 4;

export class PieceCache {
  // Of each slot: hash, where its units begin, where its ids begin, how many units (0 if empty) and, times 64, ids.
  #slots = new Int32Array(0);
  #units = new Uint16Array(0);
  #ids = new Int32Array(0);
  #entries = 0;
  #unitsUsed = 0;
  #idsUsed = 0;

  constructor() {
    this.#forget(leastSlots);
  }

  /** The ids of all entries; `find` says where one's are. */
  get ids(): Int32Array {
    return this.#ids;
  }

  /** Where the entry of this piece is, or -1. */
  find(text: string, start: number, end: number): number {
    const slots = this.#slots;
    const units = this.#units;
    const length = end - start;
    const hash = hashOf(text, start, end);
    const mask = slots.length - 1;
    for (let at = (hash << 2) & mask; ; at = (at + 4) & mask) {
      const sizes = slots[at + 3] ?? 0;
      if (sizes === 0) return -1;
      if (slots[at] !== hash || (sizes & 63) !== length) continue;
      const from = slots[at + 1] ?? 0;
      let same = 0;
      while (same < length && units[from + same] === text.charCodeAt(start + same)) same++;
      if (same === length) return at;
    }
  }

  /** Where an entry's ids begin in `ids`. */
  idsAt(entry: number): number {
    return this.#slots[entry + 2] ?? 0;
  }

  /** How many ids an entry has. */
  count(entry: number): number {
    return (this.#slots[entry + 3] ?? 0) >> 6;
  }

  /** Remembers the first `count` of `ids` for a piece that `find` did not find.
   *  @param end at most `start + 48` */
  add(text: string, start: number, end: number, ids: Int32Array, count: number): void {
    const length = end - start;
    const isFull =
      this.#entries * 8 >= this.#slots.length ||
      this.#unitsUsed + length > this.#units.length ||
      this.#idsUsed + count > this.#ids.length;
    // What was there is found again soon enough: moving it would cost more than a few pieces encoded twice.
    if (isFull) this.#forget(Math.min(mostSlots, this.#slots.length / 2));
    const mask = this.#slots.length - 1;
    const hash = hashOf(text, start, end);
    let at = (hash << 2) & mask;
    while (this.#slots[at + 3] !== 0) at = (at + 4) & mask;
    this.#slots[at] = hash;
    this.#slots[at + 1] = this.#unitsUsed;
    this.#slots[at + 2] = this.#idsUsed;
    this.#slots[at + 3] = (count << 6) | length;
    for (let i = 0; i < length; i++) this.#units[this.#unitsUsed++] = text.charCodeAt(start + i);
    for (let i = 0; i < count; i++) this.#ids[this.#idsUsed++] = ids[i] ?? 0;
    this.#entries++;
  }

  #forget(slots: number): void {
    if (this.#slots.length === slots * 4) this.#slots.fill(0);
    else {
      this.#slots = new Int32Array(slots * 4);
      this.#units = new Uint16Array(slots * unitsPerSlot);
      this.#ids = new Int32Array(slots * idsPerSlot);
    }
    this.#entries = this.#unitsUsed = this.#idsUsed = 0;
  }
}

function hashOf(text: string, start: number, end: number): number {
  let hash = 0;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x9e3779b1) ^ (hash >>> 15);
  return hash ^ (hash >>> 16);
}
