/** Functions made of functions, once for each choice. */
import type { Fn } from "../ir/fn.ts";

export type Memo<T> = WeakMap<Fn, Map<string, T>>;

export function once<T>(memo: Memo<T>, fn: Fn, key: string, make: () => T): T {
  const own = memo.get(fn) ?? new Map<string, T>();
  memo.set(fn, own);
  const known = own.get(key);
  if (known !== undefined) return known;
  const made = make();
  own.set(key, made);
  return made;
}

export const bits = (flags: readonly boolean[]): string => flags.map(Number).join("");
