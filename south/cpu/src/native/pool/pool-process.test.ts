/** How a process or a thread of it ends while the pool has threads, or work under way. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { compile, directory, type Rig, rig } from "./pool.fixture.ts";
import { poolText } from "./pool-text.ts";

const here = await rig();
const skip = typeof here === "string" ? here : false;
const given = here as Rig;

/** The beginning of a program: a pool of 3, and lists of so many milliseconds each. */
const begin = (): string => `
  import { Worker, parentPort, workerData } from "node:worker_threads";
  const { findFfi } = await import(${JSON.stringify(new URL("../ffi.ts", import.meta.url).href)});
  const { openPool } = await import(${JSON.stringify(new URL("./pool.ts", import.meta.url).href)});
  const ffi = await findFfi();
  const parts = ffi.open(${JSON.stringify(given.parts)});
  const pool = openPool(ffi, ${JSON.stringify(given.runtime)}, { threads: 3 });
  const memory = new WebAssembly.Memory({ initial: 100, maximum: 1000, shared: true });
  const write = (ms) => {
    pool.begin();
    for (let i = 0; i < ms; i++) {
      pool.with([], [1e6]);
      pool.launch(parts.symbol("sleep_ns"), 3, 3, 1e10);
      pool.with([ffi.baseOf(memory)], []);
      pool.launch(parts.symbol("count"), 1e5, 3, 1e10);
    }
  };
`;

function run(text: string): { readonly out: string; readonly status: number | null; readonly signal: string | null } {
  const file = path.join(directory, "program.mjs");
  writeFileSync(file, begin() + text);
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, [file], { encoding: "utf8", timeout: 60_000 });
  return { out: stdout + stderr, status, signal };
}
const ended = (out: string, status = 0) => ({ out, status, signal: null });

test("a process ends while the pool's threads sleep, and lives until a list is done", { skip }, () => {
  assert.deepEqual(run(`write(1); pool.run(); console.log("end");`), ended("end\n"));
  assert.deepEqual(run(`write(1); await pool.runAsync(); console.log("end");`), ended("end\n"));
  assert.deepEqual(
    run(`for (let i = 0; i < 5; i++) { write(9); pool.runAsync().then(() => console.log(i)); }`),
    ended("0\n1\n2\n3\n4\n"),
  );
});

test("process.exit ends a process whose lists would run for minutes", { skip }, () => {
  const text = `for (let i = 0; i < 4; i++) { write(20000); void pool.runAsync(); } setTimeout(() => process.exit(3), 50);`;
  const start = performance.now();
  assert.deepEqual(run(text), ended("", 3));
  assert.ok(performance.now() - start < 20_000);
  // The end by an error is one like that.
  const thrown = run(`write(20000); void pool.runAsync(); setTimeout(() => { throw new Error("oh"); }, 50);`);
  assert.deepEqual([thrown.status, thrown.signal], [1, null]);
});

test("two threads of JavaScript have a pool each; one that is ended leaves nothing behind that reads its memory", {
  skip,
}, () => {
  const text = `
    if (workerData === "worker") {
      for (let i = 0; i < 3; i++) { write(100); pool.runAsync().catch(() => {}); }
      parentPort.postMessage("started");
    } else {
      const worker = new Worker(new URL(import.meta.url), { workerData: "worker" });
      worker.on("message", async () => {
        write(20);
        await pool.runAsync();
        await worker.terminate();
        write(20);
        pool.run();
        console.log(new Set(new Int32Array(memory.buffer, 0, 1e5)));
      });
    }`;
  assert.deepEqual(run(text), ended("Set(1) { 40 }\n"));
});

test("a child that was forked in the middle of things runs its lists alone", { skip }, () => {
  const program = compile(
    "fork",
    `${poolText}
#include <sys/wait.h>
static void add(char *const *buffers, const double *scalars, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) ((int64_t *)buffers[0])[i] += (int64_t)scalars[0];
}
int main(void) {
  static int64_t got[100];
  double steps[8] = {0, (double)(uintptr_t)add, 100, 10, 0, 1, 1, 1e10}, numbers[2] = {(double)(uintptr_t)got, 1};
  struct pool *p = (struct pool *)(uintptr_t)sinan_open(3);
  sinan_run(p, steps, 1, numbers, 0);
  sinan_wait(p, sinan_submit(p, steps, 1, numbers, 0));
  pid_t child = fork();
  int is_good = sinan_run(p, steps, 1, numbers, 0) == 1 && got[0] == 3 && got[99] == 3;
  if (child == 0) {
    is_good = is_good && sinan_submit(p, steps, 1, numbers, 0) < 0;
    sinan_close(p, 1);
    p = (struct pool *)(uintptr_t)sinan_open(3);
    is_good = is_good && sinan_wait(p, sinan_submit(p, steps, 1, numbers, 0)) == 1 && got[50] == 4;
    sinan_close(p, 1);
    return is_good ? 0 : 1;
  }
  int status;
  waitpid(child, &status, 0);
  sinan_close(p, 1);
  return is_good && status == 0 ? 0 : 1;
}
`,
    [],
  );
  const { status, signal } = spawnSync(String(program), { timeout: 20_000 });
  assert.deepEqual([status, signal], [0, null]);
});
