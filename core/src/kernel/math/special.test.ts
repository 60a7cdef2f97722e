import assert from "node:assert/strict";
import { test } from "node:test";
import { erfc as exactErfc } from "../../ops/erfc.ts";
import * as s from "../../ops/special.ts";
import type { Node } from "../../ir/node.ts";
import { between, magnitudes, run, specials, worst } from "./accuracy.fixture.ts";

const unit = [...between(-1, 1, 2000), ...magnitudes(1, 0x3f7fffff, 1000), 1, -1, 1.5];
const positive = magnitudes(1, 0x7f7fffff, 1500);
const wide = [...between(-3, 3, 1500), ...between(-90, 90, 1500), ...positive, ...positive.map((x) => -x)];
const around1 = between(0.5, 2, 1000);

/** The most error in f32 and in f64. There the reference is the engine's own, with an error of its own. */
const cases: readonly [
  name: string,
  op: (x: Node) => Node,
  exact: (x: number) => number,
  most: readonly [number, number],
  xs: readonly number[],
][] = [
  ["expm1", s.expm1, Math.expm1, [1.5, 3], wide],
  ["log1p", s.log1p, Math.log1p, [1.5, 3], [...unit, ...positive]],
  [
    "exp2",
    s.exp2,
    (x) => 2 ** x,
    [1, 0],
    [...wide, ...between(-151, 129, 1000), ...Array.from({ length: 280 }, (_, i) => i - 150)],
  ],
  [
    "log2",
    s.log2,
    Math.log2,
    [1, 3],
    [...positive, ...around1, ...Array.from({ length: 277 }, (_, i) => 2 ** (i - 149)), -3],
  ],
  ["log10", s.log10, Math.log10, [1, 3], [...positive, ...around1, 10, 100, 1e3, 1e9, -3]],
  ["tan", s.tan, Math.tan, [2.5, 3], [...between(-10, 10, 2000), ...between(-131000, 131000, 2000), ...positive]],
  ["asin", s.asin, Math.asin, [1.5, 3], unit],
  ["acos", s.acos, Math.acos, [1.5, 3], unit],
  ["atan", s.atan, Math.atan, [1, 2], wide],
  ["sinh", s.sinh, Math.sinh, [2, 4], wide],
  ["cosh", s.cosh, Math.cosh, [1.5, 3], wide],
  ["asinh", s.asinh, Math.asinh, [2, 3], wide],
  ["acosh", s.acosh, Math.acosh, [2, 3], [...between(1, 3, 1500), ...between(1, 1.01, 500), ...positive, 0.5]],
  ["atanh", s.atanh, Math.atanh, [2, 3], unit],
  [
    "erfc",
    s.erfc,
    exactErfc,
    [3.5, 6],
    [...between(-4, 10.2, 2000), ...between(-0.5, 0.5, 1000), ...magnitudes(1, 0x41000000, 1000)],
  ],
];

for (const [name, op, exact, most, xs] of cases)
  test(`${name} is within ${most[0]} ulp in f32 and ${most[1]} in f64`, () => {
    const all = [...xs, ...specials].map(Math.fround);
    for (const [i, dtype] of (["f32", "f64"] as const).entries()) {
      const { error, at } = worst(run(op, all, all, dtype), (k) => exact(all[k] as number), dtype);
      assert.ok(error <= (most[i] as number), `${error} ulp of ${dtype} at ${all[at]}`);
    }
  });

test("atan2 is within 1.5 ulp, and follows C at zeros and infinities", () => {
  const edges = [...specials, 3e-39, 1e38, -2].map(Math.fround);
  const pairs = [
    ...edges.flatMap((y) => edges.map((x) => [y, x] as const)),
    ...between(-8, 8, 2000).map((y, i) => [y, Math.fround(((i * 7919) % 1000) / 100 - 5)] as const),
    ...magnitudes(1, 0x7f7fffff, 1000).map((y, i) => [y, Math.fround(y * (((i * 31) % 77) - 38))] as const),
  ];
  const [ys, xs] = [pairs.map(([y]) => y), pairs.map(([, x]) => x)];
  for (const [dtype, most] of [
    ["f32", 1.5],
    ["f64", 3],
  ] as const) {
    const got = run(s.atan2, ys, xs, dtype);
    const { error, at } = worst(got, (i) => Math.atan2(ys[i] as number, xs[i] as number), dtype);
    assert.ok(error <= most, `${error} ulp of ${dtype} at ${pairs[at]}`);
  }
});
