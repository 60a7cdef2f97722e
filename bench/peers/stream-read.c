/* How fast this machine's memory is read: threads add up so many bytes as 64-bit integers, each its own part, in vectors of 64 bytes and
 * eight sums, so that neither arithmetic nor latency is what limits. They wait for each other as our own do, by looking; what is read, as
 * often as there is time for, is as much as a bench reads in one call. Built and asked by stream-read.mjs.
 *
 *   cc -O3 -march=native -pthread stream-read.c && ./a.out THREADS      reads lines of BYTES SECONDS, prints the seconds of each pass in a line */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef uint64_t vec __attribute__((vector_size(64)));
enum { most = 64, most_passes = 1 << 16 };

struct part {
  const vec *from;
  size_t count;
  uint64_t sum;
};
static struct part parts[most];
static pthread_t ids[most];
static _Atomic int begun, ended, is_over;
static double taken[most_passes];

static void pass(struct part *part) {
  vec sums[8] = {0};
  for (size_t i = 0; i + 8 <= part->count; i += 8)
    for (int j = 0; j < 8; j++) sums[j] += part->from[i + j];
  vec all = sums[0];
  for (int j = 1; j < 8; j++) all += sums[j];
  part->sum = 0;
  for (int j = 0; j < 8; j++) part->sum += all[j];
}

static void *passes(void *part) {
  for (int seen = 0;; seen++) {
    while (atomic_load(&begun) == seen)
      if (atomic_load(&is_over)) return 0;
    pass(part);
    atomic_fetch_add(&ended, 1);
  }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv) {
  int threads = argc > 1 ? atoi(argv[1]) : 1;
  if (threads < 1 || threads > most) return 1;
  vec *memory = 0;
  size_t bytes, had = 0;
  double seconds;
  while (scanf("%zu %lf", &bytes, &seconds) == 2) {
    size_t count = bytes / 512 / (size_t)threads * 8, words = count * 8 * (size_t)threads;
    if (bytes != had) {
      free(memory);
      memory = aligned_alloc(64, words * 8);
      if (!memory) return 1;
      for (size_t i = 0; i < words; i++) ((uint64_t *)memory)[i] = i;
      had = bytes;
    }
    atomic_store(&begun, 0), atomic_store(&is_over, 0);
    for (int t = 0; t < threads; t++) {
      parts[t] = (struct part){memory + (size_t)t * count, count, 0};
      if (t > 0 && pthread_create(&ids[t], 0, passes, &parts[t])) return 1;
    }
    int done = 0;
    for (double end = now() + seconds; done < 2 || (done < most_passes && now() < end); done++) {
      double start = now();
      atomic_store(&ended, 0);
      atomic_fetch_add(&begun, 1);
      pass(&parts[0]);
      while (atomic_load(&ended) < threads - 1) continue;
      taken[done] = now() - start;
      uint64_t sum = 0;
      for (int t = 0; t < threads; t++) sum += parts[t].sum;
      if (sum != (uint64_t)words * (words - 1) / 2) return 2;
    }
    atomic_store(&is_over, 1);
    for (int t = 1; t < threads; t++) pthread_join(ids[t], 0);
    /* The first finds memory where others have put it. */
    for (int i = 1; i < done; i++) printf("%.9f ", taken[i]);
    printf("\n");
    fflush(stdout);
  }
  return 0;
}
