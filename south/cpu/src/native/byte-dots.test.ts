/** Products of bytes in C, by each kind of instruction that this processor has and without any, against sums in plain C. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { arch, tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import type { DType, Needs, VectorOp } from "sinan/south";
import { vectorPrelude, vectorsOf } from "./vectors.ts";

const compiler = ["cc", "gcc", "clang"].find(
  (name) => spawnSync(name, ["--version"], { stdio: "ignore" }).status === 0,
);
const machines =
  arch() === "x64" ? ["-march=native", "-march=native -mno-avx512vnni -mno-avxvnni", "-march=x86-64"] : [""];
const vectors = vectorsOf(64);

/** A program that counts what is wrong with vectors of so many lanes. */
function program(lanes: number): string {
  const definitions = new Map<string, string>();
  const named = (name: string, make: () => string | undefined): string => {
    if (!definitions.has(name)) {
      const text = make() ?? "";
      definitions.set(name, text);
    }
    return name;
  };
  const needs: Needs = {
    type: (element: DType, n: number) => named(`${element}x${n}`, () => vectors.type(`${element}x${n}`, element, n)),
    scalar: (op) => op,
    vector: (op: VectorOp) => named(op, () => vectors.helper(op, op, "i32", "i32", lanes, needs)),
  };
  for (const op of ["dot4_us", "dot4_ss", "dot4_uu", "spread4", "rows4", "turn4", "zip4"] as const)
    needs.vector(op, "i32", "i32", lanes);
  const [bytes, words] = [`u8x${4 * lanes}`, `i32x${lanes}`];
  return `#include <stdint.h>
#include <stdio.h>
#include <string.h>
${vectorPrelude}
${[...definitions.values()].join("\n")}
static unsigned state = 1;
static uint8_t next(void) {
  state = state * 1664525u + 1013904223u;
  return (state >> 16) % 3 ? state >> 24 : (state >> 20) & 1 ? 255 : (state >> 21) & 1 ? 127 : 128;
}
int main(void) {
  int bad = 0;
  for (int round = 0; round < 500; round++) {
    uint8_t a[${4 * lanes}], b[${4 * lanes}];
    int32_t c[${lanes}];
    for (int i = 0; i < ${4 * lanes}; i++) a[i] = next(), b[i] = next();
    for (int i = 0; i < ${lanes}; i++) c[i] = (int32_t)(state * (i + 77u));
    ${bytes} x, y;
    ${words} z;
    memcpy(&x, a, sizeof x), memcpy(&y, b, sizeof y), memcpy(&z, c, sizeof z);
    const ${words} us = dot4_us(z, x, y), ss = dot4_ss(z, x, y), uu = dot4_uu(z, x, y);
    for (int i = 0; i < ${lanes}; i++) {
      uint32_t p = c[i], q = c[i], r = c[i];
      for (int j = 4 * i; j < 4 * i + 4; j++) p += a[j] * (int8_t)b[j], q += (int8_t)a[j] * (int8_t)b[j], r += a[j] * b[j];
      bad += us[i] != (int32_t)p || ss[i] != (int32_t)q || uu[i] != (int32_t)r;
    }
  }
  uint8_t m[16 * 64];
  for (int i = 0; i < 1024; i++) m[i] = i * 7 + i / 64;
  ${bytes} turned[4];
  turn4(turned, m, 64);
  const ${bytes} rows = rows4(m + 1, 64), zipped = zip4(m + 3, 64), spread = spread4(m + 5);
  for (int i = 0; i < ${4 * lanes}; i++) {
    for (int j = 0; j < 4; j++) bad += turned[j][i] != m[i / 4 * 64 + 4 * j + i % 4];
    bad += rows[i] != m[1 + i / 4 * 64 + i % 4] || zipped[i] != m[3 + i % 4 * 64 + i / 4] || spread[i] != m[5 + i % 4];
  }
  printf("%d", bad);
  return 0;
}
`;
}

for (const machine of machines)
  test(`bytes ${machine}`, { skip: compiler === undefined && "there is no C compiler" }, () => {
    const folder = mkdtempSync(path.join(tmpdir(), "sinan-bytes-"));
    try {
      for (const lanes of [4, 8, 16]) {
        const [source, binary] = [path.join(folder, "a.c"), path.join(folder, "a.out")];
        writeFileSync(source, program(lanes));
        const flags = ["-std=gnu11", "-fwrapv", "-O1", "-w", ...machine.split(" ").filter((flag) => flag !== "")];
        const built = spawnSync(compiler as string, [...flags, "-o", binary, source], { encoding: "utf8" });
        assert.equal(built.status, 0, built.stderr);
        assert.equal(spawnSync(binary, { encoding: "utf8" }).stdout, "0", `${lanes} lanes`);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
