/* How fast this machine's memory is read: threads add up 512 MiB of 64-bit integers, each its own part, in vectors of 64 bytes and eight
 * sums, so that neither arithmetic nor latency is what limits. Built and run by stream-read.mjs.
 *
 *   cc -O3 -march=native -pthread stream-read.c && ./a.out THREADS SECONDS      prints the seconds of each pass */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef uint64_t vec __attribute__((vector_size(64)));
enum { mebibyte = 1 << 20, total = 512 * mebibyte, most = 64 };

struct part {
  const vec *from;
  size_t count;
  uint64_t sum;
};

static void *pass(void *argument) {
  struct part *part = argument;
  vec sums[8] = {0};
  for (size_t i = 0; i + 8 <= part->count; i += 8)
    for (int j = 0; j < 8; j++) sums[j] += part->from[i + j];
  vec all = sums[0];
  for (int j = 1; j < 8; j++) all += sums[j];
  part->sum = 0;
  for (int j = 0; j < 8; j++) part->sum += all[j];
  return 0;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv) {
  int threads = argc > 1 ? atoi(argv[1]) : 1;
  double seconds = argc > 2 ? atof(argv[2]) : 1;
  vec *memory = aligned_alloc(64, total);
  if (!memory || threads < 1 || threads > most) return 1;
  uint64_t *words = (uint64_t *)memory;
  for (size_t i = 0; i < total / 8; i++) words[i] = i;
  uint64_t expected = (uint64_t)(total / 8) * (total / 8 - 1) / 2;
  double end = now() + seconds;
  for (int round = 0; round < 5 || now() < end; round++) {
    struct part parts[most];
    pthread_t ids[most];
    double start = now();
    for (int t = 0; t < threads; t++) {
      size_t count = total / 64 / (size_t)threads;
      parts[t] = (struct part){memory + (size_t)t * count, count, 0};
      if (t > 0) pthread_create(&ids[t], 0, pass, &parts[t]);
    }
    pass(&parts[0]);
    uint64_t sum = parts[0].sum;
    for (int t = 1; t < threads; t++) {
      pthread_join(ids[t], 0);
      sum += parts[t].sum;
    }
    double taken = now() - start;
    if ((threads & (threads - 1)) == 0 && sum != expected) return 2;
    printf("%.9f\n", taken);
  }
  return 0;
}
