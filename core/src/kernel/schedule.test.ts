import assert from "node:assert/strict";
import { test } from "node:test";
import { ScheduleError } from "../errors.ts";
import { valueOf } from "../interpreter/value.ts";
import type { Fn } from "../ir/fn.ts";
import {
  add,
  concat,
  dot,
  expand,
  gather,
  iota,
  mul,
  neg,
  pad,
  permute,
  reduce,
  reshape,
  scatter,
  sub,
} from "../ops/build.ts";
import { evaluateKernel } from "./evaluate.ts";
import { schedule } from "./heuristics.ts";
import { check, group, hardware, sample } from "./kernel.fixture.ts";
import { orderLoops } from "./loop-orders.ts";
import { lower } from "./lower.ts";
import { nestsOf, rangesIn } from "./nests.ts";
import type { Option } from "./option.ts";
import { applySchedule } from "./schedule.ts";

orderLoops();

const scheduled = (kernel: Fn): Fn => applySchedule(kernel, schedule(kernel, hardware));
const evaluateScheduled = (fn: Fn, ...data: number[][]): number[] => [
  ...(evaluateKernel(
    scheduled(lower(fn)),
    data.map((d) => Float64Array.from(d, Math.fround)),
  )[0] as Float64Array),
];
const using =
  (...options: Option[]) =>
  (kernel: Fn): Fn =>
    applySchedule(kernel, options);
const kinds = (kernel: Fn): string[] =>
  nestsOf(kernel).map((n) => n.attr.order.map((id) => rangesIn(n.src).get(id)?.attr.kind).join(" "));
const product = (
  contract: readonly [readonly number[], readonly number[]] = [[1], [0]],
  batch: readonly [readonly number[], readonly number[]] = [[], []],
) => ({ contract, batch });

test("split, unroll, vectorize and reorder keep every element", () => {
  const fn = group(
    [
      ["f32", [6, 8]],
      ["f32", [8, 6]],
    ],
    (a, b) => add(a, permute(b, [1, 0])),
  );
  check(
    fn,
    undefined,
    using(
      { option: "split", nest: 0, range: 0, factor: 3 },
      { option: "vectorize", nest: 0, range: 1, lanes: 4 },
      { option: "unroll", nest: 0, range: 3 },
      { option: "reorder", nest: 0, order: [4, 2, 3, 5] },
    ),
  );
});

test("peel and pad treat what does not divide", () => {
  const fn = group([["f32", [5, 7]]], (a) => mul(a, a));
  check(
    fn,
    undefined,
    using(
      { option: "peel", nest: 0, range: 1, at: 4 },
      { option: "vectorize", nest: 0, range: 1, lanes: 4 },
      { option: "pad", nest: 1, range: 3, multiple: 4 },
      { option: "vectorize", nest: 1, range: 3, lanes: 4 },
    ),
  );
});

test("options that would change the meaning are refused", () => {
  const kernel = lower(
    group(
      [
        ["f32", [6]],
        ["i32", [4]],
        ["f32", [4]],
      ],
      (x, i, u) => scatter(x, i, u, 0, "set"),
    ),
  );
  assert.throws(() => applySchedule(kernel, [{ option: "vectorize", nest: 1, range: 1, lanes: 4 }]), ScheduleError);
  assert.throws(() => applySchedule(kernel, [{ option: "parallel", nest: 1, range: 1 }]), ScheduleError);
  assert.throws(() => applySchedule(kernel, [{ option: "split", nest: 0, range: 0, factor: 4 }]), /peel or pad/);
  assert.throws(() => applySchedule(kernel, [{ option: "split", nest: 7, range: 0, factor: 4 }]), /no nest 7/);
  const matmul = lower(
    group(
      [
        ["f32", [4, 8]],
        ["f32", [8, 4]],
      ],
      (a, b) => dot(a, b, product()),
    ),
  );
  assert.throws(() => applySchedule(matmul, [{ option: "accumulateBlocks", nest: 0, range: 2, block: 4 }]), /in order/);
  assert.throws(() => applySchedule(matmul, [{ option: "vectorize", nest: 0, range: 2, lanes: 4 }]), /accumulate/);
});

test("a list applies to a fresh lowering of the same group", () => {
  const fn = group(
    [
      ["f32", [20, 33]],
      ["f32", [33, 19]],
    ],
    (a, b) => dot(a, b, product()),
  );
  const options = schedule(lower(fn), hardware);
  assert.equal(
    applySchedule(lower(fn), options).hash,
    applySchedule(lower(fn), JSON.parse(JSON.stringify(options)) as Option[]).hash,
  );
});

test("a contiguous element-wise nest is one loop of vectors", () => {
  const fn = group(
    [
      ["f32", [7, 16, 4]],
      ["f32", [7, 16, 4]],
    ],
    (a, b) => sub(a, b),
  );
  assert.deepEqual(kinds(scheduled(lower(fn))), ["loop unroll vector"]);
  check(fn, undefined, scheduled);
});

test("the parts of a concatenation need no masks", () => {
  const fn = group([["f32", [5, 16]]], (x) => concat([neg(x), x], 1));
  const kernel = scheduled(lower(fn));
  assert.equal(nestsOf(kernel).length, 2);
  check(fn, undefined, scheduled);
  check(
    group([["f32", [5, 6]]], (x) => pad(x, [1, 2], [0, 3], 7)),
    undefined,
    scheduled,
  );
});

test("reductions, at every length and position of the axis", () => {
  for (const kind of ["sum", "max", "prod"] as const)
    for (const n of [1, 3, 8, 13, 64]) {
      check(
        group([["i32", [3, n]]], (x) => reduce(kind, x, [1])),
        undefined,
        scheduled,
      );
      check(
        group([["i32", [n, 9]]], (x) => reduce(kind, x, [0])),
        undefined,
        scheduled,
      );
      check(
        group([["i32", [2, 3, n]]], (x) => reduce(kind, x, [0, 2])),
        undefined,
        scheduled,
      );
    }
  check(
    group([["f32", [9000]]], (x) => reduce("sum", x, [0])),
    undefined,
    scheduled,
  );
  check(
    group([["f32", [4100, 5]]], (x) => reduce("sum", x, [0])),
    undefined,
    scheduled,
  );
});

test("the order of a sum depends on its length alone", () => {
  const terms = (n: number) => Array.from({ length: n }, (_, i) => (Math.sin(i * 12.9898) * 43758.5453) % 1);
  for (const n of [5, 8, 29, 64, 5001]) {
    const numbers = terms(n);
    const run = (fn: Fn, data: number[], dims: number[]): number[] => {
      const results: number[] = [];
      // The comparison is made here, against the other layouts; the interpreter's sum is close.
      check(fn, [valueOf("f32", dims, data)], scheduled, 1e-4);
      results.push(...evaluateScheduled(fn, data));
      return results;
    };
    const rows = run(
      group([["f32", [3, n]]], (x) => reduce("sum", x, [1])),
      [...numbers, ...numbers, ...numbers],
      [3, n],
    );
    const columns = run(
      group([["f32", [n, 6]]], (x) => reduce("sum", x, [0])),
      numbers.flatMap((x) => Array.from({ length: 6 }, () => x)),
      [n, 6],
    );
    const alone = run(
      group([["f32", [n]]], (x) => reduce("sum", x, [0])),
      numbers,
      [n],
    );
    assert.equal(new Set([...rows, ...columns, ...alone]).size, 1, `n = ${n}`);
  }
});

test("dot in all sizes, with epilogue and prologue", () => {
  for (const [m, n, k] of [
    [1, 1, 5],
    [1, 40, 9],
    [2, 5, 3],
    [5, 1, 8],
    [13, 19, 10],
    [24, 16, 48],
    [31, 45, 17],
    [96, 8, 32],
  ] as const) {
    check(
      group(
        [
          ["f32", [m, k]],
          ["f32", [k, n]],
        ],
        (a, b) => dot(a, b, product()),
      ),
      undefined,
      scheduled,
    );
    check(
      group(
        [
          ["f32", [m, k]],
          ["f32", [n, k]],
          ["f32", [n]],
        ],
        (a, b, c) => add(dot(mul(a, a), b, product([[1], [1]])), expand(reshape(c, [1, n]), [m, n])),
      ),
      undefined,
      scheduled,
    );
  }
});

test("batches, several free and contracted axes, results in another order", () => {
  check(
    group(
      [
        ["f32", [2, 3, 13, 8]],
        ["f32", [2, 3, 17, 8]],
      ],
      (a, b) =>
        dot(
          a,
          b,
          product(
            [[3], [3]],
            [
              [0, 1],
              [0, 1],
            ],
          ),
        ),
    ),
    undefined,
    scheduled,
  );
  check(
    group(
      [
        ["f32", [2, 13, 3, 8]],
        ["f32", [2, 20, 3, 8]],
      ],
      (a, b) =>
        dot(
          a,
          b,
          product(
            [[3], [3]],
            [
              [0, 2],
              [0, 2],
            ],
          ),
        ),
    ),
    undefined,
    scheduled,
  );
  check(
    group(
      [
        ["f32", [4, 5, 6]],
        ["f32", [24, 6]],
      ],
      (a, b) => dot(a, b, product([[2], [1]])),
    ),
    undefined,
    scheduled,
  );
  check(
    group(
      [
        ["f32", [4, 5, 24]],
        ["f32", [4, 5, 16]],
      ],
      (a, b) =>
        dot(
          a,
          b,
          product([
            [0, 1],
            [0, 1],
          ]),
        ),
    ),
    undefined,
    scheduled,
  );
  check(
    group(
      [
        ["f32", [24, 20]],
        ["f32", [20, 24]],
      ],
      (a, b) => permute(dot(a, b, product()), [1, 0]),
    ),
    undefined,
    scheduled,
  );
});

test("a row of a product has the same bits alone and in a batch", () => {
  const random = (count: number, seed: number) =>
    Array.from({ length: count }, (_, i) => (Math.sin(i * 78.233 + seed) * 43758.5453) % 1);
  for (const n of [1, 3, 24, 37]) {
    const [m, k] = [32, 50];
    const [a, b] = [random(m * k, 1), random(k * n, 2)];
    const make = (rows: number) =>
      group(
        [
          ["f32", [rows, k]],
          ["f32", [k, n]],
        ],
        (x, y) => dot(x, y, product()),
      );
    const batch = evaluateScheduled(make(m), a, b);
    for (const rows of [1, 2, 7, 13])
      assert.deepEqual(evaluateScheduled(make(rows), a.slice(0, rows * k), b), batch.slice(0, rows * n));
  }
});

test("indexed access under schedules", () => {
  const indices = valueOf("i32", [5], [2, 0, 2, 7, -1]);
  check(
    group(
      [
        ["f32", [4, 12]],
        ["i32", [5]],
      ],
      (x, i) => gather(x, i, 0),
    ),
    [sample("f32", [4, 12], 1), indices],
    scheduled,
  );
  for (const mode of ["add", "set"] as const)
    check(
      group(
        [
          ["f32", [4, 12]],
          ["i32", [5]],
          ["f32", [5, 12]],
        ],
        (x, i, u) => scatter(x, i, u, 0, mode),
      ),
      [sample("f32", [4, 12], 0), indices, sample("f32", [5, 12], 1)],
      scheduled,
    );
  check(
    group([], () => iota("f32", [3, 17], 1)),
    undefined,
    scheduled,
  );
});
