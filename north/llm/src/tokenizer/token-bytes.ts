/** The bytes of every token, one behind the other in one array, with a hash table from bytes to ids: a vocabulary of 128 000
 *  tokens as so many arrays of its own takes ten times the memory. */

export interface TokenBytes {
  /** The bytes of id `i` are `bytes[starts[i]..starts[i + 1])`. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly starts: Int32Array;
  /** Id of the token of exactly these bytes, or -1. */
  find(bytes: Uint8Array, length: number): number;
}

/** @param findable whether an id may be found by its bytes */
export function tokenBytes(tokens: readonly Uint8Array[], findable: (id: number) => boolean): TokenBytes {
  const starts = new Int32Array(tokens.length + 1);
  tokens.forEach((token, id) => (starts[id + 1] = (starts[id] ?? 0) + token.length));
  const bytes = new Uint8Array(starts[tokens.length] ?? 0);
  tokens.forEach((token, id) => bytes.set(token, starts[id]));
  let slots: Int32Array | undefined;

  const probe = (table: Int32Array, sought: Uint8Array, from: number, length: number): number => {
    const mask = table.length - 1;
    for (let slot = hash(sought, from, length) & mask; ; slot = (slot + 1) & mask) {
      const id = table[slot] ?? -1;
      if (id < 0) return slot;
      const at = starts[id] ?? 0;
      if ((starts[id + 1] ?? 0) - at !== length) continue;
      let same = 0;
      while (same < length && bytes[at + same] === sought[from + same]) same++;
      if (same === length) return slot;
    }
  };
  const build = (): Int32Array => {
    let size = 64;
    while (size < tokens.length * 2) size *= 2;
    const table = new Int32Array(size).fill(-1);
    for (let id = 0; id < tokens.length; id++) {
      const at = starts[id] ?? 0;
      if (findable(id)) table[probe(table, bytes, at, (starts[id + 1] ?? 0) - at)] = id;
    }
    return table;
  };
  return {
    bytes,
    starts,
    find(sought, length) {
      slots ??= build();
      return slots[probe(slots, sought, 0, length)] ?? -1;
    },
  };
}

function hash(bytes: Uint8Array, from: number, length: number): number {
  let value = length;
  for (let i = 0; i < length; i++) value = Math.imul(value ^ (bytes[from + i] ?? 0), 0x01000193);
  return value ^ (value >>> 15);
}
