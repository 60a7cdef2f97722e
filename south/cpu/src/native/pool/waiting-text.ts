/** How threads of the native tier wait for each other, in C: they look at a word for a while, then sleep until it is rung. On Linux by its
 *  futex, elsewhere by a condition variable. */
export const waitingText: string = String.raw`#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
#include <sys/resource.h>
#if defined(__linux__) && !defined(SINAN_NO_FUTEX)
#define SINAN_FUTEX 1
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

typedef _Atomic uint32_t word;

/* How long a thread that waits looks before it sleeps: waking one takes about as long, and longer where work came soon of late, or for those
   that are at work. Where others want the cores it would only keep them from who it waits for. */
enum { patience_ns = 40000, long_patience_ns = 1000000, barrier_patience_ns = 200000, crowded_patience_ns = 2000 };
/* For how long others are thought to want the cores, and the longest time for which no thread is woken. */
enum { crowded_ns = 50000000, most_alone_ns = 800000000 };
/* Who has lost its core for so long lost it to another program, which has it for milliseconds. The system itself takes it for some hundredths
   of one, some ten times a second, on a machine that does nothing else: no reason to wait otherwise. */
enum { lost_ns = 700000 };

/* The last times at which something happened. */
struct events {
  _Atomic int64_t last, before;
};

struct patience {
  /* Whether there are more threads than cores. */
  int32_t is_short;
  /* When threads that looked had lost their cores, and until when other programs are thought to want the cores. */
  struct events lost;
  _Atomic int64_t crowded_until;
  /* When threads were waited for that had lost their cores; until when none is woken, and for how long that is. */
  struct events late;
  _Atomic int64_t alone_until, alone_for;
};

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || (defined(__arm__) && __ARM_ARCH >= 7)
  __asm__ volatile("yield");
#endif
}

#if SINAN_FUTEX
static void word_wait(word *w, uint32_t seen) {
  syscall(SYS_futex, w, FUTEX_WAIT_PRIVATE, seen, 0, 0, 0);
}
static void word_wake(word *w, int count) {
  syscall(SYS_futex, w, FUTEX_WAKE_PRIVATE, count, 0, 0, 0);
}
#else
static pthread_mutex_t word_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t word_changed = PTHREAD_COND_INITIALIZER;
static void word_wait(word *w, uint32_t seen) {
  pthread_mutex_lock(&word_mutex);
  while (atomic_load(w) == seen) pthread_cond_wait(&word_changed, &word_mutex);
  pthread_mutex_unlock(&word_mutex);
}
static void word_wake(word *w, int count) {
  (void)w, (void)count;
  pthread_mutex_lock(&word_mutex);
  pthread_cond_broadcast(&word_changed);
  pthread_mutex_unlock(&word_mutex);
}
#endif

static int32_t count_cores(void) {
#if defined(__linux__) && defined(CPU_COUNT)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  return cores < 1 ? 1 : (int32_t)cores;
}

/* Involuntary switches of this thread: there are some when others want its core. */
static long switches(void) {
#ifdef RUSAGE_THREAD
  struct rusage usage;
  return getrusage(RUSAGE_THREAD, &usage) ? 0 : usage.ru_nivcsw;
#else
  return 0;
#endif
}

/* Involuntary switches of this thread as it last looked; it looks where it lost time. */
static _Thread_local long switched = -1;

static int is_before(_Atomic int64_t *until, int64_t t) { return t < atomic_load_explicit(until, memory_order_relaxed); }

/* Something happens that may be chance: threads of the host collect garbage, the system does what it does. Three times in a short time is none.
   @returns whether it is so */
static int is_often(struct events *e, int64_t t) {
  int64_t last = atomic_exchange_explicit(&e->last, t, memory_order_relaxed);
  return t - atomic_exchange_explicit(&e->before, last, memory_order_relaxed) < crowded_ns;
}

/* Another thread waited long for this one, which had lost its core. If that is so often, threads that are woken are more of a burden than a
   help, for a while, and for a longer one if it was so shortly before. */
static void came_late(struct patience *p) {
  long now = switches();
  int is_late = switched >= 0 && now != switched;
  switched = now;
  if (!is_late) return;
  int64_t t = now_ns();
  if (!is_often(&p->late, t) || is_before(&p->alone_until, t)) return;
  int64_t last = atomic_load_explicit(&p->alone_for, memory_order_relaxed);
  int is_again = t - atomic_load_explicit(&p->alone_until, memory_order_relaxed) < 2 * last;
  int64_t wait = !is_again ? crowded_ns : 2 * last < most_alone_ns ? 2 * last : most_alone_ns;
  atomic_store_explicit(&p->alone_for, wait, memory_order_relaxed);
  atomic_store_explicit(&p->alone_until, t + wait, memory_order_relaxed);
}

/* Looks for a while whether a word is no more what it was. Tells that it is, at once or in that while. */
static int changes(struct patience *p, word *w, uint32_t seen, int64_t patient_ns) {
  int64_t before = 0, until = 0;
  for (;;) {
    for (int i = 0; i < 16; i++) {
      if (atomic_load_explicit(w, memory_order_acquire) != seen) return 1;
      relax();
    }
    int64_t t = now_ns();
    if (!until) until = t + (p->is_short || is_before(&p->crowded_until, t) ? crowded_patience_ns : patient_ns);
    else if (t - before > lost_ns && is_often(&p->lost, t)) atomic_store_explicit(&p->crowded_until, t + crowded_ns, memory_order_relaxed);
    if (t >= until) {
      switched = switches();
      return atomic_load_explicit(w, memory_order_acquire) != seen;
    }
    before = t;
  }
}

/* What a thread learns of how long it waits for work: of the waits that were too long to look on, how many more were short enough to look on
   after all. So it looks on while work comes every now and then, and once or twice in vain when no more comes. */
struct experience {
  int32_t gain;
};

/* Looks for work, and sleeps until it comes: a change of the word, on which so many sleepers sleep. */
static void await(struct patience *p, struct experience *e, word *w, uint32_t seen, word *sleepers) {
  int64_t begin = now_ns();
  if (!changes(p, w, seen, e->gain > 0 ? long_patience_ns : patience_ns)) {
    atomic_fetch_add(sleepers, 1);
    if (atomic_load(w) == seen) word_wait(w, seen);
    atomic_fetch_sub(sleepers, 1);
  }
  int64_t waited = now_ns() - begin;
  if (waited > long_patience_ns) e->gain -= e->gain > -1;
  else if (waited > patience_ns) e->gain += e->gain < 2;
}
`;
