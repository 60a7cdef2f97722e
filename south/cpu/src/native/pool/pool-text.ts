/** The runtime of the native tier, in C: threads that share the steps of a list. What a step does lies in arrays of doubles, which hold
 *  addresses exactly, so that a list of any length is one foreign call. C11 with POSIX threads; Linux's futex where there is one. */

import { chunksText } from "./chunks-text.ts";
import { hugePagesText } from "./huge-pages-text.ts";
import { waitingText } from "./waiting-text.ts";

/** Numbers of a step: what it is, the address of a function, iterations (bytes of a copy or fill), the chunks that they are cut into, where
 *  its addresses begin among the list's numbers and how many they are, where its scalars begin, and about how many operations it is. */
export const stepNumbers = 8;
/** What a step is. A launch calls a function; a copy has two addresses, its target first; a fill has one and the byte as its scalar. */
export const stepKinds = { launch: 0, copy: 1, fill: 2 } as const;
/** Numbers of a stretch of a trace: step, thread, begin and end in nanoseconds. The first four of a trace say how many follow. */
export const spanNumbers = 4;

export const poolText: string = String.raw`/* Runs lists of steps by a few threads. A step begins when the one before it is done; its chunks are shared. */
${waitingText}${chunksText}
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef void part(char *const *buffers, const double *scalars, int64_t begin, int64_t end);

enum { step_numbers = 8, span_numbers = 4, most_queued = 4, most_threads = 256, most_chunks = 1 << 15 };
enum { launch = 0, copy = 1, fill = 2 };
/* Kernels keep packed panels on the stack. */
enum { stack_bytes = 8 << 20 };
/* Operations for which a thread that sleeps is woken: that takes some microseconds, and it comes some ten later. Where others want the cores
   it may take milliseconds, and where it has lost its own of late all may wait for it as long. */
static const double wake_work = 1 << 20, crowded_wake_work = 1 << 28, late_wake_work = 1LL << 32;

static double least_wake_work(struct patience *p) {
  int64_t t = now_ns();
  return is_before(&p->alone_until, t) ? late_wake_work : is_before(&p->crowded_until, t) ? crowded_wake_work : wake_work;
}

struct list {
  const double *steps, *numbers;
  int64_t count;
  double *spans;
  int32_t result;
};

struct pool;
struct member {
  /* Its chunks that nobody has taken yet. What a step is may be read by who has taken one: it stays until that is done. */
  _Alignas(64) untaken untaken;
  struct pool *pool;
  pthread_t thread;
  int32_t index;
};

struct pool {
  /* Counts shared steps: what idle threads look at and sleep on. */
  _Alignas(64) word bell;
  word sleepers;
  word stopping;
  /* The chunks that are not done yet, whether the running thread sleeps until they are, and when a thread that it waits for is late. */
  _Alignas(64) word left;
  word waiting;
  _Atomic int64_t late_at;
  /* The step under way. */
  _Alignas(64) int32_t kind;
  uint32_t chunks;
  /* How many threads have chunks of their own. */
  word seats;
  int64_t extent;
  part *function;
  char **buffers;
  const double *scalars;
  /* The number of the step, and about how many operations it and those behind it are. */
  double id, work;
  double *spans;
  _Atomic int64_t spans_kept;
  int64_t capacity;
  /* Lists for the thread that runs them while the caller does something else. */
  _Alignas(64) word submitted;
  word finished;
  struct list queue[most_queued];
  _Alignas(64) struct patience patience;
  int32_t threads, workers;
  int32_t is_started, has_runner;
  uint32_t forks;
  /* The first one is the thread that runs lists. */
  struct member members[];
};

/* A child process has none of its parent's threads. */
static word forks;
static void forked(void) { atomic_fetch_add(&forks, 1); }
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Threads sleep in this code for as long as the process lives, whoever closes the library. */
static void settle(void) {
  Dl_info info;
  pthread_atfork(0, 0, forked);
#ifdef RTLD_NODELETE
  if (dladdr((void *)&forked, &info) && info.dli_fname) dlopen(info.dli_fname, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
#endif
}

static void run_range(struct pool *p, int64_t begin, int64_t end) {
  switch (p->kind) {
    case launch: p->function(p->buffers, p->scalars, begin, end); break;
    case copy: memcpy(p->buffers[0] + begin, p->buffers[1] + begin, (size_t)(end - begin)); break;
    case fill: memset(p->buffers[0] + begin, (int)p->scalars[0], (size_t)(end - begin)); break;
  }
}

static void run_chunk(struct pool *p, int64_t seat, int64_t chunk) {
  int64_t begin, end;
  if (p->kind == launch) {
    int64_t seats = atomic_load_explicit(&p->seats, memory_order_relaxed);
    int64_t first = cut(p->chunks, seats, seat), last = cut(p->chunks, seats, seat + 1);
    begin = cut_launch(p->extent, p->chunks, first, last, chunk);
    end = cut_launch(p->extent, p->chunks, first, last, chunk + 1);
  } else {
    /* Whole lines of the cache. */
    int64_t lines = (p->extent + 63) / 64;
    begin = cut(lines, p->chunks, chunk) * 64;
    end = cut(lines, p->chunks, chunk + 1) * 64;
    if (end > p->extent) end = p->extent;
  }
  if (begin < end) run_range(p, begin, end);
}

static void keep_span(struct pool *p, int32_t thread, int64_t begin) {
  int64_t at = atomic_fetch_add_explicit(&p->spans_kept, 1, memory_order_relaxed);
  double *span = p->spans + span_numbers * (at + 1);
  span[0] = p->id;
  span[1] = thread;
  span[2] = (double)begin;
  span[3] = (double)now_ns();
}

/* Takes chunks of the step under way until there are no more. The step is not done, and so not another one, before what was taken is.
   @returns how many */
static uint32_t share(struct pool *p, int32_t thread) {
  uint32_t done = 0, seats = atomic_load_explicit(&p->seats, memory_order_relaxed);
  int64_t begin = 0;
  for (uint32_t i = 0; i <= seats; i++) {
    uint32_t seat = i == 0 ? (uint32_t)thread : i - 1;
    for (int64_t chunk; (chunk = take_chunk(&p->members[seat].untaken, i == 0)) >= 0;) {
      if (done++ == 0 && p->spans) begin = now_ns();
      run_chunk(p, seat, chunk);
    }
  }
  if (done == 0) return 0;
  if (p->spans) keep_span(p, thread, begin);
  if (atomic_fetch_sub(&p->left, done) == done && atomic_load(&p->waiting)) {
    int is_late = now_ns() > atomic_load_explicit(&p->late_at, memory_order_relaxed);
    word_wake(&p->left, 1);
    if (is_late) came_late(&p->patience);
  }
  return done;
}

static void name_thread(const char *name) {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), name);
#elif defined(__APPLE__)
  pthread_setname_np(name);
#else
  (void)name;
#endif
}

static void *work(void *argument) {
  struct member *self = argument;
  struct pool *p = self->pool;
  char name[16] = "sinan ";
  int at = 6;
  if (self->index >= 100) name[at++] = (char)('0' + self->index / 100);
  if (self->index >= 10) name[at++] = (char)('0' + self->index / 10 % 10);
  name[at++] = (char)('0' + self->index % 10);
  name_thread(name);
  struct experience experience = {.gain = 1};
  for (;;) {
    uint32_t rung = atomic_load_explicit(&p->bell, memory_order_acquire);
    if (atomic_load(&p->stopping)) return 0;
    share(p, self->index);
    await(&p->patience, &experience, &p->bell, rung, &p->sleepers);
  }
}

/* A thread that leaves signals to those of the process, but for those that its own code causes. */
static int start_thread(struct member *member, void *(*body)(void *)) {
  pthread_attr_t attributes;
  sigset_t blocked, before;
  sigfillset(&blocked);
  const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGPROF};
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) sigdelset(&blocked, own[i]);
  if (pthread_attr_init(&attributes)) return 0;
  pthread_attr_setstacksize(&attributes, stack_bytes);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  int is_made = pthread_create(&member->thread, &attributes, body, member) == 0;
  pthread_sigmask(SIG_SETMASK, &before, 0);
  pthread_attr_destroy(&attributes);
  return is_made;
}

/* The threads beside the running one. Where the system gives no more, there are fewer. */
static void start_workers(struct pool *p) {
  p->is_started = 1;
  while (p->workers < p->threads - 1) {
    struct member *member = &p->members[p->workers + 1];
    member->pool = p;
    member->index = p->workers + 1;
    if (!start_thread(member, work)) break;
    p->workers++;
  }
}

/* Lets others see the step and works with them until it is done. */
static void run_shared(struct pool *p) {
  uint32_t chunks = p->chunks, seats = chunks < (uint32_t)p->threads ? chunks : (uint32_t)p->threads;
  atomic_store_explicit(&p->left, chunks, memory_order_relaxed);
  atomic_store_explicit(&p->seats, seats, memory_order_relaxed);
  for (uint32_t seat = seats; seat-- > 0;) {
    give_chunks(&p->members[seat].untaken, cut(chunks, seats, seat), cut(chunks, seats, (int64_t)seat + 1));
  }
  atomic_fetch_add(&p->bell, 1);
  int64_t asleep = atomic_load(&p->sleepers);
  if (asleep && p->work >= least_wake_work(&p->patience)) {
    int64_t wanted = (int64_t)chunks - 1 - (p->workers - asleep);
    if (wanted > 0) word_wake(&p->bell, (int)(wanted < asleep ? wanted : asleep));
  }
  int64_t begin = now_ns();
  uint32_t done = share(p, 0), left;
  while ((left = atomic_load_explicit(&p->left, memory_order_acquire))) {
    if (changes(&p->patience, &p->left, left, barrier_patience_ns)) continue;
    int64_t t = now_ns();
    atomic_store_explicit(&p->late_at, t + lost_ns + (done ? 4 * (t - begin) / done : 0), memory_order_relaxed);
    atomic_store(&p->waiting, 1);
    while ((left = atomic_load(&p->left))) word_wait(&p->left, left);
    atomic_store(&p->waiting, 0);
  }
}

/* The pointers of a step. */
static int take_buffers(struct pool *p, const double *addresses, int64_t count) {
  if (count > p->capacity) {
    char **more = realloc(p->buffers, sizeof(char *) * (size_t)(2 * count));
    if (!more) return 0;
    p->buffers = more;
    p->capacity = 2 * count;
  }
  for (int64_t i = 0; i < count; i++) p->buffers[i] = (char *)(uintptr_t)addresses[i];
  return 1;
}

/* How many steps were run: fewer than there are if the pool is stopping. -1 if there is no memory for pointers. */
static int32_t run(struct pool *p, const struct list *list) {
  p->spans = list->spans;
  atomic_store_explicit(&p->spans_kept, 0, memory_order_relaxed);
  int32_t done = 0;
  p->work = 0;
  for (int64_t i = 0; i < list->count; i++) p->work += list->steps[step_numbers * i + 7];
  for (; done < list->count; p->work -= list->steps[step_numbers * done++ + 7]) {
    if (atomic_load_explicit(&p->stopping, memory_order_relaxed)) break;
    const double *step = list->steps + step_numbers * done;
    p->extent = (int64_t)step[2];
    if (p->extent <= 0) continue;
    p->kind = (int32_t)step[0];
    p->function = (part *)(uintptr_t)step[1];
    p->scalars = list->numbers + (int64_t)step[6];
    p->id = done;
    if (!take_buffers(p, list->numbers + (int64_t)step[4], (int64_t)step[5])) return -1;
    int64_t chunks = (int64_t)step[3] < p->extent ? (int64_t)step[3] : p->extent;
    if (chunks > most_chunks) chunks = most_chunks;
    if (chunks > 1 && p->threads > 1 && !p->is_started) start_workers(p);
    if (chunks > 1 && p->workers > 0 && p->forks == atomic_load_explicit(&forks, memory_order_relaxed)) {
      p->chunks = (uint32_t)chunks;
      run_shared(p);
    } else {
      int64_t begin = p->spans ? now_ns() : 0;
      run_range(p, 0, p->extent);
      if (p->spans) keep_span(p, 0, begin);
    }
  }
  if (p->spans) p->spans[0] = (double)atomic_load_explicit(&p->spans_kept, memory_order_relaxed);
  return done;
}

/* Runs what is submitted, in order. */
static void *run_queue(void *argument) {
  struct pool *p = ((struct member *)argument)->pool;
  name_thread("sinan 0");
  struct experience experience = {.gain = 1};
  word sleepers = 0;
  for (;;) {
    uint32_t finished = atomic_load_explicit(&p->finished, memory_order_relaxed);
    uint32_t submitted = atomic_load_explicit(&p->submitted, memory_order_acquire);
    if (submitted == finished) {
      if (atomic_load(&p->stopping)) return 0;
      await(&p->patience, &experience, &p->submitted, submitted, &sleepers);
      continue;
    }
    struct list *list = &p->queue[finished % most_queued];
    list->result = run(p, list);
    atomic_fetch_add(&p->finished, 1);
    word_wake(&p->finished, INT32_MAX);
  }
}

static void wait_until(struct pool *p, uint32_t number) {
  uint32_t finished;
  while ((int32_t)((finished = atomic_load(&p->finished)) - number) < 0) word_wait(&p->finished, finished);
}

/* @returns the address of a pool; 0 if there is no memory */
EXPORT double sinan_open(int32_t threads) {
  pthread_once(&once, settle);
  if (threads < 1) threads = 1;
  if (threads > most_threads) threads = most_threads;
  size_t bytes = sizeof(struct pool) + (size_t)threads * sizeof(struct member);
  struct pool *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (!p) return 0;
  memset(p, 0, bytes);
  p->threads = threads;
  p->patience.is_short = threads > count_cores();
  p->forks = atomic_load(&forks);
  p->members[0].pool = p;
  return (double)(uintptr_t)p;
}

/* Runs a list on the calling thread and those of the pool, after all that was submitted.
   @returns how many steps were run: fewer than there are if the pool was stopped; -1 if there is no memory */
EXPORT int32_t sinan_run(struct pool *p, const double *steps, int64_t count, const double *numbers, double *spans) {
  uint32_t submitted = atomic_load_explicit(&p->submitted, memory_order_relaxed);
  if (atomic_load_explicit(&p->finished, memory_order_acquire) != submitted) wait_until(p, submitted);
  struct list list = {.steps = steps, .numbers = numbers, .count = count, .spans = spans};
  return run(p, &list);
}

/* Runs a list on a thread of its own and those of the pool, after all that was submitted before. What it reads must stay until the end.
   @returns its number, for sinan_wait; -1 if there is no such thread, or too much is waiting */
EXPORT double sinan_submit(struct pool *p, const double *steps, int64_t count, const double *numbers, double *spans) {
  if (p->forks != atomic_load(&forks)) return -1;
  if (!p->has_runner) {
    if (!start_thread(&p->members[0], run_queue)) return -1;
    p->has_runner = 1;
  }
  uint32_t submitted = atomic_load_explicit(&p->submitted, memory_order_relaxed);
  if (submitted - atomic_load(&p->finished) >= most_queued) return -1;
  p->queue[submitted % most_queued] = (struct list){.steps = steps, .numbers = numbers, .count = count, .spans = spans};
  atomic_store(&p->submitted, submitted + 1);
  word_wake(&p->submitted, 1);
  return submitted + 1;
}

/* Waits for a submitted list. @returns what sinan_run would have */
EXPORT int32_t sinan_wait(struct pool *p, double number) {
  wait_until(p, (uint32_t)number);
  return p->queue[((uint32_t)number - 1) % most_queued].result;
}

/* Ends the threads, after the step under way. @param is_free  nobody waits for a list or will use the pool again */
EXPORT void sinan_close(struct pool *p, int32_t is_free) {
  atomic_store(&p->stopping, 1);
  if (p->forks == atomic_load(&forks)) {
    if (p->has_runner) {
      /* It sleeps on a number that only a list changes: an empty one. */
      static const double none;
      uint32_t submitted = atomic_load(&p->submitted);
      wait_until(p, submitted);
      p->queue[submitted % most_queued] = (struct list){.steps = &none, .numbers = &none};
      atomic_store(&p->submitted, submitted + 1);
      word_wake(&p->submitted, 1);
      pthread_join(p->members[0].thread, 0);
      p->has_runner = 0;
    }
    atomic_fetch_add(&p->bell, 1);
    word_wake(&p->bell, INT32_MAX);
    for (int32_t i = 0; i < p->workers; i++) pthread_join(p->members[i + 1].thread, 0);
    p->workers = 0;
  }
  if (is_free) {
    free(p->buffers);
    free(p);
  }
}

/* The clock of the spans. */
EXPORT double sinan_now(void) { return (double)now_ns(); }
${hugePagesText}`;
