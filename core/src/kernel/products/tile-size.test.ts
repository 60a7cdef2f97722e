import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { DType } from "../../ir/dtype.ts";
import { type Fn, topological } from "../../ir/fn.ts";
import { tensorTypeOf } from "../../ir/node.ts";
import { dot, mul } from "../../ops/build.ts";
import { conv, convWeights } from "../../ops/convolution.ts";
import { window } from "../../ops/window.ts";
import type { HardwareModel } from "../../runtime/hardware.ts";
import { schedule } from "../heuristics.ts";
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

/** a · b, either of them transposed in memory. */
const product = (m: number, n: number, k: number, [ta, tb] = [false, false], dtype: DType = "f32"): Fn =>
  group(
    [
      [dtype, ta ? [k, m] : [m, k]],
      [dtype, tb ? [n, k] : [k, n]],
    ],
    (a, b) => dot(a, b, { contract: [[ta ? 0 : 1], [tb ? 1 : 0]], batch: [[], []] }),
  );

/** Rows × vectors of each register tile. */
function tiles(fn: Fn, model: HardwareModel): string[] {
  const kernel = lower(fn);
  const nests = nestsOf(applySchedule(kernel, schedule(kernel, model))).filter((n) => accumulatesIn(n.src).length > 0);
  return nests.map((nest) => {
    const kinds = nest.attr.order.map((id) => rangesIn(nest.src).get(id)?.attr);
    return kinds.flatMap((r) => (r?.kind === "unroll" || r?.kind === "vector" ? r.extent : [])).join("x");
  });
}

test("a tile fills the registers: 6 rows of 4 vectors of 32, of 2 vectors of 16", () => {
  assert.deepEqual(tiles(product(48, 128, 64), avx512), ["6x4x16"]);
  assert.deepEqual(tiles(product(48, 128, 64), avx2), ["6x2x8"]);
  assert.deepEqual(tiles(product(48, 128, 64), hardware), ["6x2x4"]);
});

test("few rows are one tile, so that the columns are read once", () => {
  assert.deepEqual(tiles(product(8, 480, 64), avx512), ["8x3x16"]);
  assert.deepEqual(tiles(product(4, 480, 64), avx2), ["4x3x8"]);
  assert.deepEqual(tiles(product(1, 4096 - 256, 64), avx512), ["24x16"]);
});

test("few columns leave registers for more rows", () => {
  assert.deepEqual(tiles(product(280, 16, 64), avx512), ["14x16"]);
  assert.deepEqual(tiles(product(280, 32, 64), avx512), ["14x2x16"]);
});

test("rows that are packed are eight of three vectors: eight neighbours are moved as one vector, six are not", () => {
  assert.deepEqual(tiles(product(48, 96, 64, [true, false]), avx512), ["8x3x16"]);
  assert.deepEqual(tiles(product(48, 128, 64), avx512), ["6x4x16"], "rows as they lie along the sum are not");
});

test("columns that lie along k are one vector of a few rows", () => {
  assert.deepEqual(tiles(product(3, 64, 32, [false, true]), avx512), ["3x16"]);
});

test("operands that are converted are packed as they lie", () => {
  const kernel = lower(product(48, 128, 64, [false, false], "bf16"));
  const stages = schedule(kernel, avx512).filter((o) => o.option === "stage");
  assert.deepEqual(
    stages.map(({ operand, tile }) => [operand, tile]),
    [
      [1, 64],
      [0, 1],
    ],
  );
});

test("of many long rows as many are packed at a time as a third cache holds, in one place", () => {
  const turned = group(
    [
      ["f32", [2048, 4096]],
      ["f32", [2048, 256]],
    ],
    (x, y) => dot(x, y, { contract: [[0], [0]], batch: [[], []] }),
  );
  const kernel = applySchedule(lower(turned), schedule(lower(turned), avx512));
  const sizes = topological(kernel.results).flatMap((n) => (n.op === "scratch" ? tensorTypeOf(n).dims : []));
  assert.deepEqual(
    sizes.toSorted((a, b) => Number(a) - Number(b)),
    [6 * 48 * 2048, 576 * 2048], // columns in panels of three vectors
  );
});

/** 3² windows of images of a batch of one, as many channels made of three. */
const images = (size: number, channels: number, stride: number): Fn =>
  group(
    [
      ["f32", [1, 1, 3, size, size]],
      ["f32", [1, channels, 3, 3, 3]],
    ],
    (x, w) => conv(x, w, { strides: [stride, stride], dilations: [1, 1] }),
  );

test("channels are the lanes where neighbours along an image's row lie apart", () => {
  assert.deepEqual(tiles(images(65, 64, 2), avx512), ["6x4x16", "2x4x16"]);
  assert.deepEqual(tiles(images(34, 64, 1), avx512), ["13x2x16", "12x2x16"]);
});

/** The derivative of the weights of 3² windows. */
const weights = (images: number, size: number, channels: number, stride: number): Fn =>
  group(
    [
      ["f32", [images, 1, channels, size, size]],
      ["f32", [images, 1, 32, Math.floor((size - 1) / stride), Math.floor((size - 1) / stride)]],
    ],
    (x, g) => {
      const attr = { strides: [stride, stride], dilations: [1, 1], low: [1, 1], high: [1, 1] };
      return convWeights(x, g, { ...attr, sizes: [3, 3] });
    },
  );

test("few rows of an image or of a window have those of another range beside them", () => {
  assert.deepEqual(tiles(images(6, 96, 1), avx512), ["2x4x3x16"]);
  assert.deepEqual(tiles(weights(2, 32, 16, 1), avx512), ["4x3x2x16"]);
  assert.deepEqual(tiles(weights(2, 32, 16, 1), avx2), ["2x3x2x8"]);
  for (const model of [avx512, avx2])
    for (const fn of [images(6, 40, 1), weights(2, 6, 10, 1), weights(3, 7, 5, 2)])
      check(fn, undefined, (kernel) => applySchedule(kernel, schedule(kernel, model)));
});

const largest = (width: number, stride: number): Fn =>
  group([["f32", [2, 5, width]]], (x) =>
    window(x, { kind: "max", sizes: [3, 3], strides: [1, stride], dilations: [1, 1] }),
  );

test("the largest of small windows has vectors down to four lanes, and no partial results", () => {
  const options = schedule(lower(largest(62, 1)), avx512);
  const lanes = options.flatMap((o) => (o.option === "vectorize" ? [o.lanes] : []));
  assert.deepEqual(lanes, [16, 16, 8, 4]);
  assert.ok(!options.some((o) => o.option === "accumulateParts"));
});

test("loops and windows of any length are the interpreter's on wide machines", () => {
  for (let width = 3; width < 140; width += 5)
    for (const model of [avx512, avx2])
      for (const fn of [group([["f32", [2, width]]], (x) => mul(x, x)), largest(width, 1), largest(width, 2)])
        check(fn, undefined, (kernel) => applySchedule(kernel, schedule(kernel, model)));
  check(images(19, 32, 2), undefined, (kernel) => applySchedule(kernel, schedule(kernel, avx512)));
});

// A sum of one step is that product, −0 where the interpreter's 0 + −0 is 0.
test("products of any shape are the interpreter's on wide machines", () => {
  const size = fc.constantFrom(1, 2, 3, 5, 7, 8, 12, 15, 16, 17, 29, 40);
  fc.assert(
    fc.property(
      fc.tuple(size, size, size),
      fc.tuple(fc.boolean(), fc.boolean()),
      fc.constantFrom(machine(4, 32), machine(2, 32), machine(8, 16)),
      fc.constantFrom("i32", "bf16"),
      ([m, n, k], transposed, model, dtype) =>
        check(product(m, n, k, transposed, k > 1 ? dtype : "i32"), undefined, (kernel) =>
          applySchedule(kernel, schedule(kernel, model)),
        ),
    ),
    { numRuns: 80 },
  );
});
