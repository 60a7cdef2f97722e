/** Sums along columns taken row after row: the same bits as column after column, chosen where rows are long and many. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DType } from "../../ir/dtype.ts";
import { sizeOf } from "../../ir/dim.ts";
import type { Fn } from "../../ir/fn.ts";
import { cast, expand, mul, neg, reduce } from "../../ops/build.ts";
import { tensorTypeOf } from "../../ir/node.ts";
import type { HardwareModel } from "../../runtime/hardware.ts";
import { evaluateKernel } from "../evaluate.ts";
import { schedule } from "../heuristics.ts";
import { check, group, hardware } from "../kernel.fixture.ts";
import { lower } from "../lower.ts";
import { applySchedule } from "../schedule.ts";
import { wideTiles } from "./wide-tile.ts";

wideTiles();

const wide: HardwareModel = {
  ...hardware,
  compute: [{ unit: "vector", dtype: "f32", lanes: 16 }],
  limits: { ...hardware.limits, vectorRegisters: 32 },
};

const columns = (rows: number, length: number, kind: "sum" | "max" = "sum", dtype: DType = "f32"): Fn =>
  group([[dtype, [rows, length]]], (x) => reduce(kind, dtype === "f32" ? x : cast(x, "f32"), [0]));

const isByRows = (fn: Fn): boolean => schedule(lower(fn), wide).some(({ option }) => option === "accumulateRows");

test("long rows, whole rounds of them, are taken row after row", () => {
  assert.ok(isByRows(columns(256, 128)));
  assert.ok(isByRows(columns(1024, 1024)));
  assert.ok(isByRows(columns(512, 96, "sum", "bf16")));
  assert.ok(!isByRows(columns(256, 64)), "a row lies in the registers of one pass");
  assert.ok(!isByRows(columns(128, 128)), "four rounds");
  assert.ok(!isByRows(columns(257, 128)), "a row is left over");
  assert.ok(!isByRows(columns(256, 4096)), "partial sums of half a megabyte");
  assert.ok(!isByRows(columns(256, 128, "max")));
  assert.ok(!schedule(lower(columns(256, 128)), hardware).some(({ option }) => option === "accumulateRows"));
  // Blocks of 512 of many terms are sums along columns too.
  assert.ok(isByRows(columns(8192, 128)));
});

test("sums have the same bits either way", () => {
  const fns = [
    columns(256, 96),
    columns(5120, 80),
    group(
      [
        ["f32", [256, 72]],
        ["f32", [256, 72]],
        ["f32", [256, 1]],
      ],
      (x, y, s) => neg(reduce("sum", mul(mul(x, y), expand(s, [256, 72])), [0])),
    ),
  ];
  for (const fn of fns) {
    const kernel = lower(fn);
    const data = fn.params.map((p, i) =>
      Float64Array.from({ length: sizeOf(tensorTypeOf(p).dims) as number }, (_, k) =>
        Math.fround(Math.sin(k * 1.7 + i) * 2 ** (k % 23)),
      ),
    );
    const [rows, parts] = [1, 0].map((answer) =>
      evaluateKernel(
        applySchedule(
          kernel,
          schedule(kernel, wide, (name, otherwise) => (name === "rows" ? answer : otherwise)),
        ),
        data,
      ),
    );
    assert.deepEqual(rows, parts);
    check(fn, undefined, (k) => applySchedule(k, schedule(k, wide)));
  }
});
