/** Programs in C that count what is wrong with what helpers of vectors give, built for this processor and for lesser ones. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { DType, Needs, ScalarOp, VectorOp } from "sinan/south";
import { vectorPrelude, vectorsOf } from "./vectors.ts";

const compiler = ["cc", "gcc", "clang"].find(
  (name) => spawnSync(name, ["--version"], { stdio: "ignore" }).status === 0,
);

export const noCompiler = compiler === undefined && "there is no C compiler";

const vectors = vectorsOf(64);

/** What a program begins with: helpers under the names of their ops, and what they need.
 *  @param scalar  the C function of an op of one number */
export function helpers(
  ops: readonly VectorOp[],
  dtype: DType,
  lanes: number,
  scalar: (op: ScalarOp) => string = (op) => op,
): string {
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
    scalar,
    vector: (op: VectorOp) => named(`${op}_v`, () => vectors.helper(`${op}_v`, op, dtype, dtype, lanes, needs)),
  };
  for (const op of ops) needs.vector(op, dtype, dtype, lanes);
  return `#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
${vectorPrelude}
${[...definitions.values()].join("\n")}`;
}

/** Asserts that a program prints 0, with vectors of 4, 8 and 16 lanes.
 *  @param machine  the compiler's options for a processor */
export function assertNothingWrong(machine: string, flag: string, program: (lanes: number) => string): void {
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-counted-"));
  try {
    for (const lanes of [4, 8, 16]) {
      const [source, binary] = [path.join(folder, "a.c"), path.join(folder, "a.out")];
      writeFileSync(source, program(lanes));
      const flags = ["-std=gnu11", flag, "-O1", "-w", ...machine.split(" ").filter((option) => option !== "")];
      const built = spawnSync(compiler ?? "cc", [...flags, "-o", binary, source, "-lm"], { encoding: "utf8" });
      assert.equal(built.status, 0, built.stderr);
      assert.equal(spawnSync(binary, { encoding: "utf8" }).stdout, "0", `${lanes} lanes`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
