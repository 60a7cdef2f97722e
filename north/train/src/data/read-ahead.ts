/** Batches before they are asked for: while a step computes, the next ones are read. */
import { ArgumentError } from "sinan";
import type { Source } from "./token-source.ts";

/** A source whose next batches are read before they are asked for. */
export interface ReadAhead<B> extends Source<B> {
  /** How many of the steps behind the last one asked for are there already. */
  readonly ready: number;
}

/** Reads up to `depth` steps ahead of the one that is asked for. An error waits for its own step. Steps may come in any order; those
 *  in a row are fast.
 *
 *  @param depth  at least 1; so many batches are held
 *  @throws ArgumentError
 *  @example const source = readAhead(tokenSource(tokens, options), { depth: 4 }); */
export function readAhead<B>(source: Source<B>, { depth = 4 }: { readonly depth?: number } = {}): ReadAhead<B> {
  if (!Number.isSafeInteger(depth) || depth < 1)
    throw new ArgumentError(`readAhead: expected a depth that is a whole number of at least 1, got ${depth}`);
  const held = new Map<number, { readonly batch: Promise<B>; done: boolean }>();
  let closed = false;
  const start = (step: number): Promise<B> => {
    const known = held.get(step);
    if (known) return known.batch;
    const batch = (async () => source.at(step))();
    const entry = { batch, done: false };
    held.set(step, entry);
    const settled = (): void => {
      entry.done = true;
    };
    batch.then(settled, settled); // a failure nobody asks for is none
    return batch;
  };
  return {
    at(step) {
      if (closed) throw new ArgumentError("the source of batches is closed");
      for (const before of held.keys()) if (before < step || before > step + depth) held.delete(before);
      const batch = start(step);
      for (let next = step + 1; next <= step + depth; next++) void start(next);
      held.delete(step);
      return batch;
    },
    ...(source.ids && { ids: (step) => source.ids?.(step) ?? [] }),
    get ready() {
      let count = 0;
      for (const { done } of held.values()) if (done) count++;
      return count;
    },
    async close() {
      closed = true;
      await Promise.allSettled([...held.values()].map(({ batch }) => batch));
      held.clear();
      await source.close();
    },
  };
}
