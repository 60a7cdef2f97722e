/** Values that calls are given again and again, as the weights of a model are: once they were all seen to be there, nobody looks at each of
 *  them again until one of them changes. A change is told by the buffer or tensor itself. */
import type { Buffer } from "./buffer.ts";

/** Buffers whose work has passed, all of one device, and numbers. */
export interface Kept {
  /** Null once one of them was donated, disposed of, given another value, or has failed. */
  values: readonly (Buffer | number)[] | null;
}

/** Those of a call's arguments that are kept, and where they begin. */
export interface Sure {
  readonly from: number;
  readonly values: readonly (Buffer | number)[];
}

let all: WeakRef<Kept>[] = [];

/** Keeps values, whose buffers tell of changes from now on. */
export function keep(values: readonly (Buffer | number)[]): Kept {
  for (const v of values) if (typeof v !== "number") v.isKept = true;
  const kept: Kept = { values };
  all = all.filter((ref) => ref.deref()?.values);
  all.push(new WeakRef(kept));
  return kept;
}

/** One of those that are kept has changed: which of them holds it is not looked up, that is rare. */
export function changed(): void {
  for (const ref of all) {
    const kept = ref.deref();
    if (kept) kept.values = null;
  }
  all = [];
}
