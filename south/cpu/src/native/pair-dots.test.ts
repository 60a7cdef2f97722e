/** Products of two bf16 in C, by each kind of instruction that this processor has and without any, against two fused multiply-adds. */
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
const machines = arch() === "x64" ? ["-march=native", "-march=native -mno-avx512bf16", "-march=x86-64"] : [];
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
    scalar: () => "fmaf",
    vector: (op: VectorOp) => named(`${op}_v`, () => vectors.helper(`${op}_v`, op, "f32", "f32", lanes, needs)),
  };
  needs.vector("dot2", "f32", "f32", lanes);
  return `#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
${vectorPrelude}
${[...definitions.values()].join("\n")}
static unsigned state = 1;
static unsigned next(void) { return (state = state * 1664525u + 1013904223u) >> 8; }
static uint16_t near1(void) { return (next() & 0x807f) | ((120 + next() % 14) << 7); }
static float value(uint16_t a) { uint32_t bits = (uint32_t)a << 16; float y; memcpy(&y, &bits, 4); return y; }
int main(void) {
  int bad = 0;
  for (int round = 0; round < 2000; round++) {
    uint16_t a[${2 * lanes}], b[${2 * lanes}];
    float c[${lanes}];
    for (int i = 0; i < ${2 * lanes}; i++) a[i] = near1(), b[i] = near1();
    for (int i = 0; i < ${lanes}; i++) c[i] = ldexpf((float)next(), -28) - 0.03f;
    i32x${lanes} x, y;
    f32x${lanes} z;
    memcpy(&x, a, sizeof x), memcpy(&y, b, sizeof y), memcpy(&z, c, sizeof z);
    z = dot2_v(z, x, y);
    for (int i = 0; i < ${lanes}; i++)
      bad += z[i] != fmaf(value(a[2 * i]), value(b[2 * i]), fmaf(value(a[2 * i + 1]), value(b[2 * i + 1]), c[i]));
  }
  printf("%d", bad);
  return 0;
}
`;
}

for (const machine of machines)
  test(`pairs ${machine}`, { skip: compiler === undefined && "there is no C compiler" }, () => {
    const folder = mkdtempSync(path.join(tmpdir(), "sinan-pairs-"));
    try {
      for (const lanes of [4, 8, 16]) {
        const [source, binary] = [path.join(folder, "a.c"), path.join(folder, "a.out")];
        writeFileSync(source, program(lanes));
        const flags = ["-std=gnu11", "-ffp-contract=off", "-O1", "-w", ...machine.split(" ")];
        const built = spawnSync(compiler as string, [...flags, "-o", binary, source, "-lm"], { encoding: "utf8" });
        assert.equal(built.status, 0, built.stderr);
        assert.equal(spawnSync(binary, { encoding: "utf8" }).stdout, "0", `${lanes} lanes`);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
