/** Threefry2x32-20 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"), in the partitionable
 *  layout: the counter of an element is its number, so its bits depend neither on the tensor's size nor on its cuts. */

const rotations = [13, 15, 26, 6, 17, 29, 16, 24] as const;

/** Both words of one counter, written to `out[0]` and `out[1]`. */
export function threefry(k0: number, k1: number, c0: number, c1: number, out: Uint32Array): void {
  const k2 = k0 ^ k1 ^ 0x1bd11bda;
  let x = (c0 + k0) | 0;
  let y = (c1 + k1) | 0;
  for (let block = 0; block < 5; block++) {
    for (let round = 0; round < 4; round++) {
      const r = rotations[(block % 2) * 4 + round] as number;
      x = (x + y) | 0;
      y = ((y << r) | (y >>> (32 - r))) ^ x;
    }
    const next = block + 1;
    x = (x + (next % 3 === 0 ? k0 : next % 3 === 1 ? k1 : k2)) | 0;
    y = (y + (next % 3 === 0 ? k1 : next % 3 === 1 ? k2 : k0) + next) | 0;
  }
  out[0] = x;
  out[1] = y;
}

/** `count` elements from counter `offset` on: the xor of both words, or both of them side by side. */
export function randomBits(key: readonly [number, number], offset: number, count: number, words: 1 | 2): Float64Array {
  const data = new Float64Array(count * words);
  const pair = new Uint32Array(2);
  for (let i = 0; i < count; i++) {
    const counter = offset + i;
    threefry(key[0], key[1], Math.floor(counter / 2 ** 32), counter >>> 0, pair);
    const [a, b] = pair as unknown as [number, number];
    if (words === 2) {
      data[2 * i] = a;
      data[2 * i + 1] = b;
    } else data[i] = (a ^ b) >>> 0;
  }
  return data;
}
