/** Pieces of text that were encoded before, with their ids: words repeat, and to find one again costs a tenth of merging it.
 *  Everything lies in typed arrays and is found by the units of the text itself, so that a hit allocates nothing; when an
 *  array is full, all is forgotten. */

/** Pieces longer than this are not remembered: of those the chance to come again is small. */
export const rememberedLength = 48;

const slotCount = 1 << 16;
const entryLimit = slotCount / 2;
const unitLimit = 1 << 19;
const idLimit = 1 << 18;

export class PieceCache {
  // Of each slot: hash, where its units begin, where its ids begin, how many units (0 if empty) and, times 64, ids.
  readonly #slots = new Int32Array(slotCount * 4);
  readonly #units = new Uint16Array(unitLimit);
  readonly #ids = new Int32Array(idLimit);
  #entries = 0;
  #unitsUsed = 0;
  #idsUsed = 0;

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
    for (let at = (hash & (slotCount - 1)) * 4; ; at = (at + 4) & (slotCount * 4 - 1)) {
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
    if (this.#entries === entryLimit || this.#unitsUsed + length > unitLimit || this.#idsUsed + count > idLimit) {
      this.#slots.fill(0);
      this.#entries = this.#unitsUsed = this.#idsUsed = 0;
    }
    const hash = hashOf(text, start, end);
    let at = (hash & (slotCount - 1)) * 4;
    while (this.#slots[at + 3] !== 0) at = (at + 4) & (slotCount * 4 - 1);
    this.#slots[at] = hash;
    this.#slots[at + 1] = this.#unitsUsed;
    this.#slots[at + 2] = this.#idsUsed;
    this.#slots[at + 3] = (count << 6) | length;
    for (let i = 0; i < length; i++) this.#units[this.#unitsUsed++] = text.charCodeAt(start + i);
    for (let i = 0; i < count; i++) this.#ids[this.#idsUsed++] = ids[i] ?? 0;
    this.#entries++;
  }
}

function hashOf(text: string, start: number, end: number): number {
  let hash = 0;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x9e3779b1) ^ (hash >>> 15);
  return hash ^ (hash >>> 16);
}
