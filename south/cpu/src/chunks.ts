/** Into how many chunks a loop is cut that threads share. What is computed does not depend on it. */

import { maxChunks } from "./tasks.ts";

/** Chunks for each thread: some finish sooner than others. */
const perThread = 4;

/** At least one, also of no iterations: what nobody takes is never done.
 *  @param work  about how many operations all iterations are
 *  @param grain  about how many are worth a thread's while */
export function chunksOf(extent: number, work: number, threads: number, grain: number): number {
  const worthWhile = Math.max(1, Math.min(extent, Math.floor(work / grain), maxChunks));
  return evenly(extent, threads, Math.min(worthWhile, threads * perThread), worthWhile);
}

/** How many chunks: of one length and as many for each thread, if a number does it that is not much more than `least`. Of few
 *  iterations, one more or less in a chunk leaves threads waiting for the last; but what a chunk's iterations share, each chunk
 *  reads. */
function evenly(extent: number, threads: number, least: number, most: number): number {
  const end = Math.min(most, 5 * least);
  for (let chunks = least; chunks <= end; chunks++) if (extent % chunks === 0 && chunks % threads === 0) return chunks;
  return extent < least * least ? Math.min(most, 2 * least) : least;
}
