/** How the chunks of a step are shared by the threads of the native tier, in C. Each thread has some of its own, the same iterations of each
 *  step of one size, which it finds in its caches, and nobody else writes to where they are counted; who is done takes those of others
 *  (Markatos & LeBlanc 1994, "Using processor affinity in loop scheduling"). They lie side by side: processors foresee what comes next of
 *  two halves of a matrix, which are read a quarter faster than chunks in turn. */
export const chunksText: string = String.raw`
/* Chunks of a thread that nobody has taken yet: the first of them, and in the upper half the one behind the last. */
typedef _Atomic uint64_t untaken;

static inline void give_chunks(untaken *to, int64_t first, int64_t last) {
  atomic_store_explicit(to, (uint64_t)first | (uint64_t)last << 32, memory_order_release);
}

/* Takes a chunk of a thread: its own thread from the front, others from the back. @returns -1 if there is none */
static inline int64_t take_chunk(untaken *of, int is_own) {
  uint64_t now = atomic_load_explicit(of, memory_order_relaxed);
  while ((uint32_t)now < now >> 32) {
    uint64_t next = is_own ? now + 1 : now - (1ULL << 32);
    if (atomic_compare_exchange_weak_explicit(of, &now, next, memory_order_acquire, memory_order_relaxed))
      return is_own ? (int64_t)(uint32_t)now : (int64_t)(now >> 32) - 1;
  }
  return -1;
}

/* floor(extent * i / chunks), without the product of large numbers. */
static int64_t cut(int64_t extent, int64_t chunks, int64_t i) {
  return extent / chunks * i + extent % chunks * i / chunks;
}

/* Where a chunk of a launch begins: one of a thread's, from the first to the one behind the last. Few are of one length. Of more, each is a
   little shorter than the one before it, down to next to nothing (Tzen & Ni 1993, "Trapezoid self-scheduling"): threads that do not
   come at one time, or are not equally fast, end at about the same. */
static int64_t cut_launch(int64_t extent, int64_t chunks, int64_t first, int64_t last, int64_t i) {
  int64_t count = last - first;
  if (chunks == extent || count < 8) return cut(extent, chunks, i);
  int64_t begin = cut(extent, chunks, first), end = cut(extent, chunks, last);
  return begin + cut(end - begin, count * count, (i - first) * (2 * count - (i - first)));
}
`;
