/** Into how many chunks a loop is cut that threads of the native tier share. What is computed does not depend on it. */

/** Chunks of a long loop for each thread: a thread that loses its core is waited for with one of them. The last ones are short. */
const perThread = 24;
/** Iterations for each thread, up to which each is a chunk of its own. */
const fewIterations = 16;

/** At least one.
 *  @param work  about how many operations all iterations are
 *  @param grain  about how many are worth a thread's while */
export function sharesOf(extent: number, work: number, threads: number, grain: number): number {
  if (threads === 1) return 1;
  const worthWhile = Math.max(1, Math.min(extent, Math.floor(work / grain)));
  if (extent === worthWhile && extent <= fewIterations * threads) return extent;
  const chunks = Math.min(worthWhile, perThread * threads);
  // As many for each thread.
  return chunks > threads ? chunks - (chunks % threads) : chunks;
}
