/** Into how many chunks a loop is cut that threads of the native tier share. What is computed does not depend on it. */

import { maxChunks } from "../tasks.ts";

/** Iterations for each thread, up to which each is a chunk of its own. */
const fewIterations = 16;
/** Halves of what is left that threads take in turn. */
const mostRounds = 7;

/** At least one. A multiple of the threads is taken in rounds, the first of half of all iterations, each of half of the one before it.
 *  @param work  about how many operations all iterations are
 *  @param grain  about how many are worth a thread's while */
export function sharesOf(extent: number, work: number, threads: number, grain: number): number {
  const worthWhile = Math.max(1, Math.min(extent, Math.floor(work / grain), maxChunks));
  if (threads === 1 || worthWhile <= threads) return threads === 1 ? 1 : worthWhile;
  if (extent === worthWhile && extent <= fewIterations * threads) return extent;
  // The last chunk is the least that is worth while.
  return threads * Math.min(mostRounds, 1 + Math.floor(Math.log2(worthWhile / threads)));
}
