/** Convolutions and both of their gradients on the native tier, which leaves out the steps that see only padding: their values, and the same
 *  bits with any number of threads. Images that fill a tile with their rows, images that do not, and odd ones. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { conv2d, currentDevice, device, jit, key, random, type Tensor, vjp } from "../core/src/index.ts";
import { noNative } from "./devices.ts";

interface Case {
  readonly size: readonly [number, number];
  readonly from: number;
  readonly to: number;
  readonly window: number;
  readonly stride: number;
  readonly padding: number;
}
const images = 2;
const all: readonly Case[] = [
  { size: [4, 4], from: 20, to: 50, window: 3, stride: 1, padding: 1 },
  { size: [8, 8], from: 12, to: 48, window: 3, stride: 1, padding: 1 },
  { size: [8, 6], from: 6, to: 34, window: 5, stride: 1, padding: 2 },
  { size: [32, 32], from: 3, to: 14, window: 3, stride: 1, padding: 1 },
  { size: [9, 8], from: 16, to: 32, window: 3, stride: 2, padding: 1 },
  { size: [5, 7], from: 3, to: 5, window: 2, stride: 3, padding: 1 },
];

const options = ({ stride, padding }: Case) => ({ stride, padding });
const counts = ({ size, window, stride, padding }: Case): readonly [number, number] => {
  const [height, width] = size.map((d) => Math.floor((d + 2 * padding - window) / stride) + 1);
  return [height as number, width as number];
};
const operands = (one: Case): readonly [Tensor, Tensor, Tensor] => [
  random.normal(key(1), [images, one.from, ...one.size]),
  random.normal(key(2), [one.to, one.from, one.window, one.window]),
  random.normal(key(3), [images, one.to, ...counts(one)]),
];
const computed = jit((given: readonly (readonly [Tensor, Tensor, Tensor])[]) =>
  all.flatMap((one, i) => {
    const [x, w, g] = given[i] as readonly [Tensor, Tensor, Tensor];
    const [y, back] = vjp((a: Tensor, b: Tensor) => conv2d(a, b, options(one)), x, w);
    const [dx, dw] = back(g);
    return [y, dx, dw];
  }),
);
const numbers = async (t: Tensor): Promise<Float32Array> => (await t.data()) as Float32Array;

/** Kernels that were not built would be WebAssembly's from then on. */
const isOf = async (tier: string): Promise<void> => assert.equal((await currentDevice()).tier, tier);

async function results(threads: number): Promise<Float32Array[]> {
  await device("cpu:native", { options: { threads, grain: 1 } });
  const made = await Promise.all(computed(all.map(operands)).map(numbers));
  await isOf("native");
  return made;
}

/** The sums in doubles, each with the sum of its terms' sizes and their number. */
function expected(one: Case, [x, w, g]: readonly Float32Array[]): { total: Float64Array; size: Float64Array }[] {
  const { size, from, to, window, stride, padding } = one;
  const [height, width] = size;
  const [rows, columns] = counts(one);
  const made = [images * to * rows * columns, images * from * height * width, to * from * window * window].map((n) => ({
    total: new Float64Array(n),
    size: new Float64Array(n),
  }));
  const add = (which: number, place: number, term: number): void => {
    const { total, size: sizes } = made[which] as (typeof made)[number];
    total[place] = (total[place] as number) + term;
    sizes[place] = (sizes[place] as number) + Math.abs(term);
  };
  for (let n = 0; n < images; n++)
    for (let o = 0; o < to; o++)
      for (let p = 0; p < rows; p++)
        for (let q = 0; q < columns; q++)
          for (let c = 0; c < from; c++)
            for (let i = 0; i < window; i++)
              for (let j = 0; j < window; j++) {
                const [row, column] = [p * stride + i - padding, q * stride + j - padding];
                if (row < 0 || row >= height || column < 0 || column >= width) continue;
                const places = [
                  ((n * to + o) * rows + p) * columns + q,
                  ((n * from + c) * height + row) * width + column,
                  ((o * from + c) * window + i) * window + j,
                ] as const;
                const at = (values: Float32Array | undefined, place: number): number => values?.[place] as number;
                add(0, places[0], at(x, places[1]) * at(w, places[2]));
                add(1, places[1], at(g, places[0]) * at(w, places[2]));
                add(2, places[2], at(x, places[1]) * at(g, places[0]));
              }
  return made;
}

test("convolutions have their values, and the same bits with 1, 2 and 5 threads", { skip: noNative }, async () => {
  const one = await results(1);
  for (const [at, given] of all.entries()) {
    const sums = expected(given, await Promise.all(operands(given).map(numbers)));
    const [rows, columns] = counts(given);
    const terms = [given.from, given.to, images * rows * columns].map((n) => n * given.window ** 2);
    sums.forEach(({ total, size }, which) => {
      const got = one[3 * at + which] as Float32Array;
      assert.equal(got.length, total.length);
      total.forEach((value, i) => {
        // A rounding of 2⁻²⁴ for each term.
        const error = Math.abs((got[i] as number) - value);
        assert.ok(
          error <= (terms[which] as number) * 2 ** -24 * (size[i] as number),
          `${["y", "∂x", "∂w"][which]} of ${JSON.stringify(given)} [${i}] is ${error} off`,
        );
      });
    });
  }
  for (const threads of [2, 5])
    (await results(threads)).forEach((more, i) => {
      const first = one[i] as Float32Array;
      assert.ok(
        Buffer.from(first.buffer).equals(Buffer.from(more.buffer)),
        `${JSON.stringify(all[Math.floor(i / 3)])} on ${threads} threads`,
      );
    });
});

test("an infinite weight beside padding gives no NaN", { skip: noNative }, async () => {
  await device("cpu:native", { options: { threads: 1 } });
  const x = random.uniform(key(4), [2, 16, 4, 4], { low: 1, high: 2 });
  const w = random.uniform(key(5), [32, 16, 3, 3], { low: 1, high: 2 }).div(0);
  const y = await numbers(jit((a: Tensor, b: Tensor) => conv2d(a, b, { padding: 1 }))(x, w));
  assert.ok(y.every((value) => value === Number.POSITIVE_INFINITY));
});

test("images that are lanes have their values", { skip: noNative }, async () => {
  const f = jit((a: Tensor, b: Tensor) => conv2d(a, b, { padding: 1 }));
  const [native, wasm] = [await on("native"), await on("wasm")];
  assert.ok(native.every((value, i) => Math.abs(value - (wasm[i] as number)) < 1e-13));

  async function on(tier: string): Promise<Float64Array> {
    await device(`cpu:${tier}`, { options: { threads: 1 } });
    const x = random.normal(key(6), [16, 2, 6, 6]).cast("f64");
    const w = random.normal(key(7), [4, 2, 3, 3]).cast("f64");
    const values = (await f(x, w).data()) as Float64Array;
    await isOf(tier);
    return values;
  }
});
