import assert from "node:assert/strict";
import { test } from "node:test";
import type { Fn } from "../ir/fn.ts";
import { add, expand, mul, reduce, reshape } from "../ops/build.ts";
import { affine } from "../ops/indexing.ts";
import type { HardwareModel } from "../runtime/hardware.ts";
import { schedule } from "./heuristics.ts";
import { check, group, hardware } from "./kernel.fixture.ts";
import { lower } from "./lower.ts";
import { loadsIn, nestsOf, rangesIn } from "./nests.ts";
import { nearIndices } from "./near-indices.ts";
import { applySchedule } from "./schedule.ts";
import { wideTiles } from "./products/wide-tile.ts";

wideTiles();

const machine = (lanes: number): HardwareModel => ({
  ...hardware,
  compute: [{ unit: "vector", dtype: "f32", lanes }],
  limits: { ...hardware.limits, vectorRegisters: 32 },
});

/** What a norm over batches sums of images: (x + c) x for each channel, c a number of the channel's own. */
const overImages = (images: number, channels: number, size: number): Fn =>
  group(
    [
      ["f32", [images, channels, size]],
      ["f32", [channels]],
    ],
    (x, c) => {
      const wide = expand(reshape(c, [1, channels, 1]), [images, channels, size]);
      return reduce("sum", mul(add(x, wide), x), [0, 2]);
    },
  );

const near = (kernel: Fn, model: HardwareModel): Fn => nearIndices(applySchedule(kernel, schedule(kernel, model)));

/** The steps that lanes make in memory, of each load that they enter. */
const steps = (kernel: Fn): (number | undefined)[] =>
  nestsOf(kernel).flatMap(({ src }) => {
    const lanes = [...rangesIn(src).values()].filter((r) => r.attr.kind === "vector");
    return loadsIn(src).flatMap(({ src: [, index] }) =>
      lanes
        .filter((lane) => rangesIn([index as never]).get(lane.attr.id) === lane)
        .map((lane) => affine(index as never).terms.get(lane)),
    );
  });

test("sums over images and their elements read vectors as they lie", () => {
  for (const size of [64, 256, 1024, 16]) {
    const found = steps(near(lower(overImages(32, 16, size)), machine(16)));
    assert.ok(found.length > 0 && found.every((step) => step === 1), `${size}: ${found.join(", ")}`);
  }
});

test("they are the interpreter's for any size", () => {
  for (const size of [1, 3, 8, 12, 24, 40, 64, 96])
    for (const [images, channels] of [
      [3, 5],
      [20, 2],
      [70, 17],
    ] as const)
      for (const lanes of [8, 16])
        check(overImages(images, channels, size), undefined, (kernel) => near(kernel, machine(lanes)));
});
