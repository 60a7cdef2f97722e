/** Who watches the runtime: nobody, mostly. A place that has something to tell asks first, so nothing is measured for nobody. */
import type { Program } from "./program.ts";

export interface Watcher {
  /** Something that the calling thread did or waited for. Milliseconds since the epoch. */
  event(kind: "pass" | "read", name: string, begin: number, end: number): void;
  /** A program that was compiled and loaded. */
  compiled?(program: Program): void;
  /** A program whose work is about to be submitted. */
  ran?(program: Program): void;
}

export const watch: { by: Watcher | null } = { by: null };

/** Milliseconds since the epoch, finer than those of `Date`. */
export const clock = (): number => performance.timeOrigin + performance.now();

/** Runs a body, and tells how long it took. */
export function watched<T>(kind: "pass", name: string, body: () => T): T {
  const { by } = watch;
  if (!by) return body();
  const begin = clock();
  const result = body();
  by.event(kind, name, begin, clock());
  return result;
}
