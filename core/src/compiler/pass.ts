/** A pass: a pure function from function to function, with the name under which it is printed and timed. */
import type { Fn } from "../ir/fn.ts";
import { watched } from "../runtime/watch.ts";

export interface Pass {
  readonly name: string;
  readonly run: (fn: Fn) => Fn;
}

/** Runs passes in order. `after` sees what each has made: to verify it, to print it. */
export function runPasses(fn: Fn, passes: readonly Pass[], after?: (pass: Pass, result: Fn) => void): Fn {
  let now = fn;
  for (const pass of passes) {
    const before = now;
    now = watched("pass", pass.name, () => pass.run(before));
    after?.(pass, now);
  }
  return now;
}
