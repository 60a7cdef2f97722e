/** Numbers that look drawn, the same for the same seed: an input of the fuzzer is known by its format, seed and number. */

export interface Random {
  /** An integer in [0, below). */
  below(below: number): number;
  /** One of a list that is not empty. */
  pick<T>(list: readonly T[]): T;
  /** True once in `times`. */
  once(times: number): boolean;
}

/** Source: mulberry32 (Tommy Ettinger, public domain). */
export function random(seed: number, number: number): Random {
  let state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b)) | 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    below,
    pick<T>(list: readonly T[]): T {
      const one = list[below(list.length)];
      if (one === undefined && list.length === 0) throw new RangeError("pick: expected a list that is not empty");
      return one as T;
    },
    once: (times) => below(times) === 0,
  };
}
