/** The pool's runtime alone, in a program of its own under ThreadSanitizer; and a hundred thousand tiny steps. Longer with SINAN_STRESS=SECONDS. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { compile, type Rig, rig } from "./pool.fixture.ts";
import { poolText } from "./pool-text.ts";

const here = await rig();
const skip = typeof here === "string" ? here : false;
const seconds = Number(process.env["SINAN_STRESS"] ?? 0);

/** Lists of random steps over plain memory, some beside the main thread; each element counts the steps that reached it. */
const driverText = `${poolText}
#include <stdio.h>
static uint64_t seed = 1;
static int64_t draw(int64_t n) { return (int64_t)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 33) % n; }
static void add(char *const *buffers, const double *scalars, int64_t begin, int64_t end) {
  int64_t *to = (int64_t *)buffers[0];
  for (int64_t i = begin; i < end; i++) to[i] = to[i] * 3 + (int64_t)scalars[0];
}
enum { elements = 300, most = 40 };
static int64_t got[elements], expected[elements];
struct written { double steps[8 * most], numbers[2 * most], spans[4 * (1 + most * 16)]; };
static int64_t write_list(struct written *w) {
  int64_t count = draw(most);
  for (int64_t s = 0; s < count; s++) {
    int64_t extent = 1 + draw(elements), chunks = 1 + draw(20);
    double step[8] = {0, (double)(uintptr_t)add, (double)extent, (double)chunks, (double)(2 * s), 1, (double)(2 * s + 1), draw(4) ? 1e10 : 0};
    memcpy(w->steps + 8 * s, step, sizeof step);
    w->numbers[2 * s] = (double)(uintptr_t)got;
    w->numbers[2 * s + 1] = (double)draw(100);
    for (int64_t i = 0; i < extent; i++) expected[i] = expected[i] * 3 + (int64_t)w->numbers[2 * s + 1];
  }
  return count;
}
int main(int argc, char **argv) {
  int threads = atoi(argv[1]), rounds = atoi(argv[2]);
  static struct written lists[most_queued];
  for (int round = 0; round < rounds; round++) {
    struct pool *p = (struct pool *)(uintptr_t)sinan_open(threads);
    for (int i = 0; i < 20; i++) {
      int queued = (int)draw(most_queued);
      double number = 0;
      int64_t count = 0;
      for (int k = 0; k < queued; k++) {
        count = write_list(&lists[k]);
        number = sinan_submit(p, lists[k].steps, count, lists[k].numbers, k % 2 ? lists[k].spans : 0);
        if (number < 0) return 2;
      }
      if (queued && draw(2) && sinan_wait(p, number) != count) return 3;
      struct written *last = &lists[most_queued - 1];
      count = write_list(last);
      if (sinan_run(p, last->steps, count, last->numbers, last->spans) != count) return 4;
      if (memcmp(got, expected, sizeof got)) return 5;
      if (draw(8) == 0) usleep(300);
    }
    sinan_close(p, 1);
  }
  puts("done");
}
`;

const sanitize = ["-fsanitize=thread", "-g"];

/** The driver, where the compiler has ThreadSanitizer. */
function driver(name: string, flags: readonly string[]): string | undefined {
  try {
    return compile(name, driverText, [...sanitize, ...flags]);
  } catch (error) {
    if (/tsan/.test(String(error))) return undefined;
    throw error;
  }
}

const execute = (program: string, ...args: string[]) => spawnSync(program, args, { encoding: "utf8" });

test("ThreadSanitizer finds no race", { skip }, (t) => {
  for (const [name, flags] of [
    ["stress", []],
    ["stress-portable", ["-DSINAN_NO_FUTEX"]],
  ] as const) {
    const program = driver(name, flags);
    if (program === undefined) return t.skip("the compiler has no ThreadSanitizer");
    for (const threads of seconds ? [2, 3, 8] : [3]) {
      const rounds = String(Math.max(2, Math.round(seconds * 10)));
      const { stdout, stderr, status } = execute(program, String(threads), rounds);
      if (/unexpected memory mapping/.test(stderr)) return t.skip("ThreadSanitizer does not run on this kernel");
      assert.equal(stderr, "");
      assert.deepEqual([stdout, status], ["done\n", 0]);
    }
  }
});

test("100,000 tiny steps, alone and beside this thread in turn", { skip }, async () => {
  const given = here as Rig;
  const follow = given.symbol("follow");
  for (const threads of [2, 5]) {
    const pool = given.open(threads);
    const [a, b] = [new Float64Array(8), new Float64Array(8)];
    const addresses = [given.ffi.addressOf(a), given.ffi.addressOf(b)];
    const reversed = [...addresses].reverse();
    let done = 0;
    while (done < 100_000) {
      const steps = done % 1000 === 0 ? 2 : 998;
      pool.begin();
      for (let i = 0; i < steps; i++) {
        pool.with(i % 2 ? addresses : reversed, [8, i % 8]);
        pool.launch(follow, 8, 2 + (i % 3), 1e10);
      }
      if (steps === 2) pool.run();
      else await pool.runAsync();
      done += steps;
    }
    assert.deepEqual([...a], new Array(8).fill(done));
    await pool.close();
  }
});
