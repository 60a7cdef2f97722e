/** What tests of the pool share: its runtime and some functions to run, built once a process by the C compiler there is. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { type Ffi, findFfi } from "../ffi.ts";
import { openPool, type Pool } from "./pool.ts";
import { poolText } from "./pool-text.ts";

/** Functions that write what a test can look at. */
const partsText = `
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#define PART(name) void name(char *const *buffers, const double *scalars, int64_t begin, int64_t end)
/* Counts each iteration. */
PART(count) { int32_t *b = (int32_t *)buffers[0]; for (int64_t i = begin; i < end; i++) b[i]++; }
/* Element i of the target is the next one of the source, and 1 more. */
PART(follow) {
  double *to = (double *)buffers[0]; const double *from = (const double *)buffers[1]; int64_t n = (int64_t)scalars[0];
  for (int64_t i = begin; i < end; i++) to[i] = from[(i + (int64_t)scalars[1]) % n] + 1;
}
/* Takes a while, and says which thread did each iteration and how it is called. */
PART(who) {
  struct timespec t = {0, (long)scalars[0]};
  char name[16]; pthread_getname_np(pthread_self(), name, sizeof name);
  for (int64_t i = begin; i < end; i++) {
    nanosleep(&t, 0);
    ((double *)buffers[0])[i] = (double)(uintptr_t)pthread_self();
    memcpy(buffers[1] + 16 * i, name, 16);
  }
}
/* Keeps 6 MiB on the stack, of which every page is written. */
PART(deep) {
  volatile char kept[6 << 20];
  for (size_t i = 0; i < sizeof kept; i += 4096) kept[i] = 1;
  for (int64_t i = begin; i < end; i++) ((double *)buffers[0])[i] = kept[4096 * i];
}
/* Halves a subnormal number. */
PART(halve) { for (int64_t i = begin; i < end; i++) ((double *)buffers[0])[i] *= 0.5; }
PART(sleep_ns) { struct timespec t = {(time_t)(scalars[0] / 1e9), (long)scalars[0] % 1000000000}; nanosleep(&t, 0); (void)buffers; }
`;

export const directory = mkdtempSync(path.join(tmpdir(), "sinan-pool-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));

const compiler = process.env["SINAN_CC"] ?? "gcc";

/** Builds a shared object, or a program; undefined where there is no compiler. */
export function compile(
  name: string,
  text: string,
  flags: readonly string[] = ["-shared", "-fPIC"],
): string | undefined {
  const source = path.join(directory, `${name}.c`);
  const target = path.join(directory, name);
  writeFileSync(source, text);
  const warnings = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-pthread"];
  const { status, stderr, error } = spawnSync(compiler, [...warnings, ...flags, source, "-o", target], {
    encoding: "utf8",
  });
  if (error) return undefined;
  if (status !== 0) throw new Error(`${compiler}: ${stderr}`);
  return target;
}

export interface Rig {
  readonly ffi: Ffi;
  /** The paths of the pool's runtime and of the functions. */
  readonly runtime: string;
  readonly parts: string;
  open(threads: number): Pool;
  symbol(name: string): number;
}

/** Where tests run the pool, or why they cannot. */
export async function rig(flags: readonly string[] = []): Promise<Rig | string> {
  const ffi = await findFfi();
  if ("reason" in ffi) return ffi.reason;
  const runtime = compile(`pool${flags.join("")}.so`, poolText, [...flags, "-shared", "-fPIC"]);
  const parts = compile("parts.so", partsText);
  if (!runtime || !parts) return `there is no ${compiler}`;
  const library = ffi.open(parts);
  return {
    ffi,
    runtime,
    parts,
    open: (threads) => openPool(ffi, runtime, { threads }),
    symbol: (name) => library.symbol(name),
  };
}
