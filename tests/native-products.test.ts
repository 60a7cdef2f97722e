/** Products of f32 on the native tier: their values, and the same bits with any number of threads, wherever tiles are cut between them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { device, jit, key, matmul, maximum, random, slice, type Tensor, transpose } from "../core/src/index.ts";
import { noNative } from "./devices.ts";

/** Rows, columns and terms; what is left over of each, packed or not. */
const shapes = [
  [28, 152, 40],
  [256, 88, 100],
  [131, 67, 96],
  [70, 300, 33],
  [5, 700, 64],
] as const;
const layouts = ["x y", "x yᵀ", "xᵀ y"] as const;

const all = layouts.flatMap((layout) => shapes.map(([m, n, k]) => ({ layout, m, n, k })));
type Case = (typeof all)[number];

const bare = ({ layout }: Case, x: Tensor, y: Tensor): readonly [Tensor, Tensor] => [
  layout === "xᵀ y" ? transpose(x) : x,
  layout === "x yᵀ" ? transpose(y) : y,
];
const operands = (one: Case): readonly [Tensor, Tensor, Tensor] => {
  const { layout, m, n, k } = one;
  return [
    random.normal(key(1), layout === "xᵀ y" ? [k, m] : [m, k]),
    random.normal(key(2), layout === "x yᵀ" ? [n, k] : [k, n]),
    random.normal(key(3), [n]),
  ];
};
const products = jit((given: readonly (readonly [Tensor, Tensor, Tensor])[]) =>
  all.map((one, i) => {
    const [x, y, bias] = given[i] as readonly [Tensor, Tensor, Tensor];
    return maximum(matmul(...bare(one, x, y)).add(bias), 0);
  }),
);
const numbers = async (t: Tensor): Promise<Float32Array> => (await t.data()) as Float32Array;

async function results(threads: number): Promise<Float32Array[]> {
  await device("cpu:native", { options: { threads, grain: 1 } });
  return Promise.all(products(all.map(operands)).map(numbers));
}

test("products have their values, and the same bits with 1, 2 and 5 threads", { skip: noNative }, async () => {
  const one = await results(1);
  for (const [at, { layout, m, n, k }] of all.entries()) {
    const [x, y, bias] = operands(all[at] as Case);
    const [left, right] = bare(all[at] as Case, x, y);
    const [a, b, c] = (await Promise.all([left, transpose(right), bias].map(numbers))) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) {
        let [total, size] = [c[j] as number, Math.abs(c[j] as number)];
        for (let t = 0; t < k; t++) {
          const term = (a[i * k + t] as number) * (b[j * k + t] as number);
          total += term;
          size += Math.abs(term);
        }
        // A rounding of 2⁻²⁴ for each term and for the bias.
        const error = Math.abs((one[at]?.[i * n + j] as number) - Math.max(0, total));
        assert.ok(error <= (k + 1) * 2 ** -24 * size, `${layout}, ${m}×${n}×${k} [${i}, ${j}] is ${error} off`);
      }
  }
  for (const threads of [2, 5]) {
    const more = await results(threads);
    for (const [at, { layout, m, n, k }] of all.entries())
      assert.ok(
        Buffer.from((one[at] as Float32Array).buffer).equals(Buffer.from((more[at] as Float32Array).buffer)),
        `${layout}, ${m}×${n}×${k} on ${threads} threads`,
      );
  }
});

test("rows that are packed some at a time have the bits that they have alone", { skip: noNative }, async () => {
  const [m, n, k] = [1300, 70, 1700];
  const product = jit((x: Tensor, y: Tensor) => matmul(transpose(x), y));
  const values = async (threads: number): Promise<readonly Float32Array[]> => {
    await device("cpu:native", { options: { threads, grain: 1 } });
    const [x, y] = [random.normal(key(1), [k, m]), random.normal(key(2), [k, n])];
    const some = [
      [0, 40],
      [560, 600],
      [m - 29, m],
    ] as const;
    const parts = some.map(
      async ([from, to]) => [from * n, await numbers(product(x.at(slice(0, k), slice(from, to)), y))] as const,
    );
    const whole = await numbers(product(x, y));
    for (const [at, part] of await Promise.all(parts)) assert.deepEqual(whole.slice(at, at + part.length), part);
    return [whole];
  };
  assert.deepEqual(await values(2), await values(1));
});
