/** How the pool's threads wait: they burn nothing while there is no work, and do not make work slower where others want the cores. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { compile, type Rig, rig } from "./pool.fixture.ts";
import { poolText } from "./pool-text.ts";

const here = await rig();
const skip = typeof here === "string" ? here : false;
const given = here as Rig;

test("threads without work take no time of the processor", { skip }, async () => {
  const pool = given.open(4);
  const counts = new Int32Array(1000);
  const list = (): void => {
    pool.begin();
    pool.with([given.ffi.addressOf(counts)], []);
    pool.launch(given.symbol("count"), counts.length, 8, 1e10);
  };
  for (let i = 0; i < 200; i++) {
    list();
    pool.run();
  }
  list();
  await pool.runAsync();
  const before = process.cpuUsage();
  await setTimeout(300);
  const { user, system } = process.cpuUsage(before);
  await pool.close();
  // Three threads and the one that runs lists look on for less than half a millisecond.
  assert.ok(user + system < 60_000, `${user + system} µs of 300 ms`);
});

/** Lists of some tenths of a millisecond, by one thread and by as many as there are cores, in turn, beside as many busy programs again and
 *  more: says how much longer the median is with threads. */
const busyText = `${poolText}
#include <stdio.h>
#include <sys/wait.h>
static volatile uint64_t kept;
static void work_on(char *const *buffers, const double *scalars, int64_t begin, int64_t end) {
  uint64_t x = 1;
  for (int64_t i = begin; i < end; i++)
    for (int j = 0; j < 4000; j++) x = x * 6364136223846793005u + 1;
  kept = x;
  (void)buffers, (void)scalars;
}
static int order(const void *a, const void *b) { return *(const int64_t *)a < *(const int64_t *)b ? -1 : 1; }
enum { lists = 200 };
int main(void) {
  int cores = count_cores();
  pid_t others[64];
  int count = 3 * cores < 64 ? 3 * cores : 64;
  for (int i = 0; i < count; i++)
    if ((others[i] = fork()) == 0) {
      alarm(20);
      for (;;) kept++;
    }
  struct pool *pools[2] = {(struct pool *)(uintptr_t)sinan_open(1), (struct pool *)(uintptr_t)sinan_open(cores)};
  static int64_t times[2][lists];
  double steps[4 * 8];
  for (int s = 0; s < 4; s++) {
    double step[8] = {0, (double)(uintptr_t)work_on, 24, 24, 0, 0, 0, 1e7};
    memcpy(steps + 8 * s, step, sizeof step);
  }
  double none = 0;
  for (int i = 0; i < lists; i++)
    for (int k = 0; k < 2; k++) {
      int64_t begin = now_ns();
      sinan_run(pools[k], steps, 4, &none, 0);
      times[k][i] = now_ns() - begin;
    }
  for (int i = 0; i < count; i++) kill(others[i], SIGKILL);
  for (int k = 0; k < 2; k++) qsort(times[k], lists, sizeof(int64_t), order), sinan_close(pools[k], 1);
  printf("%f %f", times[0][lists / 2] / 1e3, times[1][lists / 2] / 1e3);
}
`;

test("beside busy programs, threads are not much slower than one", { skip }, () => {
  const program = compile("busy", busyText, []);
  const { stdout, status } = spawnSync(String(program), { encoding: "utf8", timeout: 60_000 });
  assert.equal(status, 0);
  const [alone, together] = stdout.split(" ").map(Number) as [number, number];
  assert.ok(together < 2 * alone, `lists took ${together} µs with threads, ${alone} µs without`);
});
