/** Permutations of 0..count−1 that are computed, not stored: a Feistel network over the next even power of two, walked
 *  until it lands inside. */
import { ArgumentError } from "../errors.ts";

const rounds = 8;

/** The finalizer of MurmurHash3, over two words. */
export function mix(a: number, b: number): number {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x7f4a7c15, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A 32-bit word of a whole number below 2⁵³ and another word. */
export const mixNumber = (n: number, word: number): number => mix(mix(Math.floor(n / 2 ** 32), word), n >>> 0);

/** Where position `index` of 0..count−1 goes in the permutation of a seed.
 *
 *  @param count  at most 2⁵²
 *  @param word   32 bits that choose the permutation
 *  @throws ArgumentError for an index outside
 *  @see Black & Rogaway 2002, "Ciphers with arbitrary finite domains", method 3 (cycle walking) */
export function permute(count: number, word: number, index: number): number {
  if (!Number.isSafeInteger(index) || index < 0 || index >= count)
    throw new ArgumentError(`permute: expected an index in 0..${count - 1}, got ${index}`);
  let half = 1;
  while (4 ** half < count) half++;
  const size = 2 ** half;
  let position = index;
  do {
    let left = Math.floor(position / size);
    let right = position % size;
    for (let r = 0; r < rounds; r++) {
      // Only the low bits of a mixed word are used; half is at most 26.
      const next = (left ^ (mix(right, mix(word, r)) & (size - 1))) >>> 0;
      left = right;
      right = next;
    }
    position = left * size + right;
  } while (position >= count);
  return position;
}
