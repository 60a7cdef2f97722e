import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { DType } from "../../ir/dtype.ts";
import type { Fn } from "../../ir/fn.ts";
import { cast, dot } from "../../ops/build.ts";
import type { HardwareModel } from "../../runtime/hardware.ts";
import { topological } from "../../ir/fn.ts";
import { schedule, scheduled } from "../heuristics.ts";
import { check, group, hardware } from "../kernel.fixture.ts";
import { lower } from "../lower.ts";
import { accumulatesIn, nestsOf, rangesIn } from "../nests.ts";
import { applySchedule } from "../schedule.ts";
import { wideTiles } from "./wide-tile.ts";

wideTiles();

const machine = (lanes: number, vectorRegisters: number): HardwareModel => ({
  ...hardware,
  compute: [{ unit: "vector", dtype: "f32", lanes }],
  limits: { ...hardware.limits, vectorRegisters },
});
const avx512 = machine(16, 32);
const avx2 = machine(8, 16);

/** x · w, the weights narrow and each column's beside each other, or its rows'. */
const product = (m: number, n: number, k: number, dtype: DType = "bf16", isAlong = true): Fn =>
  group(
    [
      ["f32", [m, k]],
      [dtype, isAlong ? [n, k] : [k, n]],
    ],
    (x, w) => dot(x, cast(w, "f32"), { contract: [[1], [isAlong ? 1 : 0]], batch: [[], []] }),
  );

const isAlongK = (fn: Fn, model: HardwareModel): boolean =>
  nestsOf(scheduled(lower(fn), model)).every((nest) =>
    accumulatesIn(nest.src).some((sum) => sum.src.some((r) => r.op === "range" && r.attr.kind === "vector")),
  );

test("lanes are along k where narrow weights are, on wide vectors, whatever the batch", () => {
  for (const m of [1, 2, 8, 40]) {
    assert.ok(isAlongK(product(m, 24, 64), avx512), `${m} rows of 16 lanes`);
    assert.ok(isAlongK(product(m, 24, 64, "i8"), avx2), `${m} rows of 8 lanes`);
    assert.ok(!isAlongK(product(m, 24, 64), hardware), "four lanes have columns");
    assert.ok(!isAlongK(product(m, 24, 64, "bf16", false), avx512), "weights that lie along n");
    assert.ok(!isAlongK(product(m, 24, 64, "f32"), avx512), "weights that are f32");
    assert.ok(!isAlongK(product(m, 24, 12), avx512), "fewer terms than lanes");
  }
});

test("nothing is kept of decoded weights, and a tile fills the registers", () => {
  const kernel = scheduled(lower(product(36, 64, 64)), avx512);
  assert.equal(topological(kernel.results).filter((n) => n.op === "scratch").length, 0);
  const [nest] = nestsOf(kernel);
  const sides = [...rangesIn(nest?.src ?? []).values()].filter((r) => r.attr.kind === "unroll");
  assert.deepEqual(
    sides.map((r) => r.attr.extent).sort((a, b) => a - b),
    [4, 6],
  );
});

test("any sizes are the interpreter's product", () => {
  const size = (most: number) => fc.integer({ min: 1, max: most });
  const dtype = fc.constantFrom<DType>("bf16", "f16", "i8", "u8");
  const model = fc.constantFrom(avx512, avx2);
  fc.assert(
    fc.property(size(20), size(70), fc.integer({ min: 2, max: 100 }), dtype, model, (m, n, k, w, hw) => {
      // Numbers are small and whole, so every order of a sum is exact.
      const fn = product(m, n, k, w);
      check(fn, undefined, (kernel) => applySchedule(kernel, schedule(kernel, hw)));
    }),
    { numRuns: 40 },
  );
});

test("for one row of x, rows of weights are read one after another where they are more than a cache holds", () => {
  const tile = (kernel: Fn, model: HardwareModel): number[] =>
    nestsOf(scheduled(lower(kernel), model)).flatMap((nest) =>
      [...rangesIn(nest.src).values()].filter((r) => r.attr.kind === "unroll").map((r) => r.attr.extent),
    );
  assert.deepEqual(tile(product(1, 4096, 1024), avx512), []);
  assert.deepEqual(tile(product(1, 4096, 1024), avx2), [2]);
  assert.deepEqual(tile(product(1, 4096, 2048, "i8"), avx512), [2]);
  assert.deepEqual(tile(product(1, 64, 1024), avx512), [4], "a matrix that stays in a cache");
});

test("x that is rounded is computed once where many columns read it, to the same numbers", () => {
  const rounded = (m: number, n: number, k: number): Fn =>
    group(
      [
        ["f32", [m, k]],
        ["bf16", [n, k]],
      ],
      (x, w) => dot(cast(cast(x, "bf16"), "f32"), cast(w, "f32"), { contract: [[1], [1]], batch: [[], []] }),
    );
  const stages = (fn: Fn): number => schedule(lower(fn), avx2).filter((o) => o.option === "stageAlong").length;
  assert.deepEqual([rounded(1, 64, 64), rounded(5, 70, 30), rounded(5, 8, 64)].map(stages), [1, 1, 0]);
  for (const [m, n, k] of [
    [1, 64, 64],
    [5, 70, 30],
    [3, 65, 9],
  ] as const)
    check(rounded(m, n, k), undefined, (kernel) => applySchedule(kernel, schedule(kernel, avx2)));
});

test("long sums of short floats are cut in runs, whatever the batch", () => {
  const runs = (m: number, k: number): number[] =>
    schedule(lower(product(m, 600, k)), avx512).flatMap((o) => (o.option === "sumRuns" ? [32 * o.run] : []));
  for (const m of [1, 8]) assert.deepEqual(runs(m, 4096), [1024]);
  assert.deepEqual(runs(1, 11008), [1376]);
  assert.deepEqual(runs(1, 768), []);
});
