/** Long sums over several axes on wide machines: blocks go as they lie in memory, and add up to what they did. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Fn } from "../../ir/fn.ts";
import type { Node } from "../../ir/node.ts";
import { mul, reduce } from "../../ops/build.ts";
import type { HardwareModel } from "../../runtime/hardware.ts";
import { schedule, strideOf } from "../heuristics.ts";
import { check, group, hardware } from "../kernel.fixture.ts";
import { lower } from "../lower.ts";
import { loadsIn, nestsOf, type RangeNode, rangesIn } from "../nests.ts";
import { applySchedule } from "../schedule.ts";
import { wideTiles } from "./wide-tile.ts";

wideTiles();
const avx512: HardwareModel = {
  ...hardware,
  compute: [{ unit: "vector", dtype: "f32", lanes: 16 }],
  limits: { ...hardware.limits, vectorRegisters: 32 },
};

/** Σ x² for each channel. */
const ofChannels = (images: number, channels: number, size: number): Fn =>
  group([["f32", [images, channels, size]]], (x) => reduce("sum", mul(x, x), [0, 2]));

/** How far apart what is read is from one iteration of each loop to the next, in the nest that sums blocks. */
function strides(fn: Fn): (number | undefined)[] {
  const kernel = lower(fn);
  const [first] = nestsOf(applySchedule(kernel, schedule(kernel, avx512)));
  assert.ok(first);
  const ranges = rangesIn(first.src);
  const [load] = loadsIn(first.src);
  const loops = first.attr.order.map((id) => ranges.get(id)).filter((r): r is RangeNode => r?.attr.kind === "loop");
  return loops.map((r) => load && strideOf(load.src[1] as Node, r));
}

test("the blocks of one channel come before those of the next", () => {
  assert.deepEqual(strides(ofChannels(8, 5, 1024)), [5 * 1024, 1024, 512]);
  assert.deepEqual(strides(ofChannels(4, 3, 1536)), [3 * 1536, 1536, 512]);
});

test("their sums are the interpreter's", () => {
  for (const [images, channels, size] of [
    [8, 5, 1024],
    [4, 3, 1536],
    [1, 3, 5120],
    [6, 2, 1000],
    [12, 3, 512],
    [40, 4, 256],
  ] as const)
    check(
      ofChannels(images, channels, size),
      undefined,
      (kernel) => applySchedule(kernel, schedule(kernel, avx512)),
      1e-6,
    );
});
