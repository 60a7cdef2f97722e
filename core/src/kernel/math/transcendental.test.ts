import assert from "node:assert/strict";
import { test } from "node:test";
import { erf as exactErf } from "../../ops/erf.ts";
import { cos, erf, exp, log, pow, sin, tanh } from "../../ops/build.ts";
import type { Fn } from "../../ir/fn.ts";
import type { Node } from "../../ir/node.ts";
import { expandFused } from "./fused-transcendental.ts";
import { between, magnitudes, run, specials, ulp, worst } from "./accuracy.fixture.ts";

const cases: readonly [
  name: string,
  op: (x: Node) => Node,
  exact: (x: number) => number,
  most: number,
  xs: readonly number[],
][] = [
  [
    "exp",
    exp,
    Math.exp,
    1,
    [...between(-104, 89), ...between(-1, 1), ...magnitudes(1, 0x42000000), 88.72284, 88.7229, -103.97, -103.98, -87.4],
  ],
  ["log", log, Math.log, 1, [...magnitudes(1, 0x7f7fffff), ...between(0.5, 2), -3]],
  ["tanh", tanh, Math.tanh, 2, [...between(-10, 10), ...magnitudes(1, 0x41200000)]],
  ["erf", erf, exactErf, 2, [...between(-4.5, 4.5), ...magnitudes(0x00800000, 0x40800000)]],
  [
    "sin",
    sin,
    Math.sin,
    2,
    [105032.8671875, ...between(-10, 10), ...between(-131000, 131000), ...magnitudes(1, 0x47ffffff)],
  ],
  [
    "cos",
    cos,
    Math.cos,
    2,
    [52516.43359375, ...between(-10, 10), ...between(-131000, 131000), ...magnitudes(1, 0x47ffffff)],
  ],
  ["sin of large numbers", sin, Math.sin, 2, magnitudes(0x48000000, 0x7f7fffff)],
  ["cos of large numbers", cos, Math.cos, 2, magnitudes(0x48000000, 0x7f7fffff)],
];

for (const [name, op, exact, most, xs] of cases)
  test(`${name} is within ${most} ulp`, () => {
    const all = [...xs, ...specials].map(Math.fround);
    const { error, at } = worst(run(op, all), (i) => exact(all[i] as number));
    assert.ok(error <= most, `${error} ulp at ${all[at]}`);
    for (const scales of [false, true]) {
      const expand = (kernel: Fn) => expandFused(kernel, scales);
      const fused = worst(run(op, all, all, "f32", expand), (i) => exact(all[i] as number));
      assert.ok(fused.error <= most, `with fma ${fused.error} ulp at ${all[fused.at]}`);
    }
  });

test("pow is within 2 ulp", () => {
  const pairs = [
    ...between(0.01, 30, 1500).map((x, i) => [x, ((i * 7919) % 1000) / 50 - 10]),
    ...magnitudes(1, 0x7f7fffff, 1500).map((x, i) => [x, ((i * 31) % 77) / 70 - 0.5]),
    ...between(0.999, 1.001, 600).map((x, i) => [x, i * 200]),
  ] as [number, number][];
  const ys = pairs.map(([, y]) => Math.fround(y));
  const xs = pairs.map(([x]) => x);
  for (const expand of [undefined, expandFused]) {
    const got = run(pow, xs, ys, "f32", expand);
    const { error, at } = worst(got, (i) => (xs[i] as number) ** (ys[i] as number));
    assert.ok(error <= 2, `${expand ? "with fma " : ""}${error} ulp at ${pairs[at]}`);
  }
});

test("pow follows C at zeros, infinities and negative bases", () => {
  const values = [
    0,
    -0,
    1,
    -1,
    2,
    -2,
    3,
    0.5,
    -0.5,
    1e30,
    -1e30,
    16777217,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    Number.NaN,
  ].map(Math.fround);
  const pairs = values.flatMap((x) => values.map((y) => [x, y] as const));
  const [xs, ys] = [pairs.map(([x]) => x), pairs.map(([, y]) => y)];
  for (const expand of [undefined, expandFused, (kernel: Fn) => expandFused(kernel, true)]) {
    const got = run(pow, xs, ys, "f32", expand);
    pairs.forEach(([x, y], i) => {
      const want = x === 1 || (x === -1 && Math.abs(y) === Number.POSITIVE_INFINITY) ? 1 : Math.fround(x ** y);
      assert.ok(
        Object.is(got[i], want) || Math.abs((got[i] as number) - want) <= 2 * ulp(want),
        `${x} ** ${y}: ${got[i]}, not ${want}`,
      );
    });
  }
});
