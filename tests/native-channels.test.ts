/** Convolutions of f32 on the native tier whose lanes are channels: rows of images in whole tiles, in a tile and a rest, in steps, with what is
 *  added to them. Their values, and the same bits with any number of threads and with weights that stay. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { conv2d, device, frozen, jit, key, maximum, maxPool, random, type Tensor, where } from "../core/src/index.ts";
import { noNative } from "./devices.ts";

interface Case {
  readonly images: number;
  readonly channels: number;
  readonly size: number;
  readonly out: number;
  readonly window: number;
  readonly stride: number;
}

const made = (images: number, channels: number, size: number, out: number, window: number, stride: number): Case => ({
  images,
  channels,
  size,
  out,
  window,
  stride,
});
const all = [
  made(1, 3, 56, 34, 3, 1),
  made(2, 3, 28, 32, 3, 1),
  made(1, 18, 28, 32, 3, 1),
  made(1, 6, 14, 48, 3, 1),
  made(2, 8, 7, 40, 3, 1),
  made(1, 4, 19, 33, 3, 1),
  made(1, 3, 56, 32, 7, 2),
  made(1, 16, 28, 32, 1, 2),
  made(1, 4, 28, 34, 3, 2),
  // Weights of more than two second caches of 1 MB, and rows of 7, of which 4 and 3 are a tile.
  made(1, 200, 7, 304, 3, 1),
];

const sizeOut = ({ size, stride }: Case): number => Math.floor((size - 1) / stride) + 1;
const operands = (one: Case): readonly [Tensor, Tensor, Tensor, Tensor] => {
  const { images, channels, size, out, window } = one;
  return [
    random.normal(key(1), [images, channels, size, size]),
    random.normal(key(2), [out, channels, window, window]),
    random.normal(key(3), [out]),
    random.normal(key(4), [images, out, sizeOut(one), sizeOut(one)]),
  ];
};
type Given = readonly (readonly [Tensor, Tensor, Tensor, Tensor])[];
const layers = (given: Given): Tensor[] =>
  all.map(({ window, stride }, i) => {
    const [x, w, bias, beside] = given[i] as Given[number];
    return maximum(conv2d(x, w, { stride, padding: (window - 1) / 2, bias }).add(beside), 0);
  });
const numbers = async (t: Tensor): Promise<Float32Array> => (await t.data()) as Float32Array;

/** By the definition, in doubles; and the sum of the terms' sizes, by which rounding is judged. */
function* expected(one: Case, [x, w, bias, beside]: readonly Float32Array[]): Generator<readonly [number, number]> {
  const { images, channels, size, out, window, stride } = one;
  const [side, pad] = [sizeOut(one), (window - 1) / 2];
  const at = (values: Float32Array | undefined, i: number): number => values?.[i] ?? Number.NaN;
  for (let n = 0; n < images; n++)
    for (let o = 0; o < out; o++)
      for (let p = 0; p < side; p++)
        for (let q = 0; q < side; q++) {
          const other = at(beside, ((n * out + o) * side + p) * side + q);
          let total = at(bias, o) + other;
          let terms = Math.abs(at(bias, o)) + Math.abs(other);
          for (let c = 0; c < channels; c++)
            for (let k = 0; k < window; k++)
              for (let l = 0; l < window; l++) {
                const [row, column] = [p * stride + k - pad, q * stride + l - pad];
                if (row < 0 || column < 0 || row >= size || column >= size) continue;
                const term =
                  at(x, ((n * channels + c) * size + row) * size + column) *
                  at(w, ((o * channels + c) * window + k) * window + l);
                total += term;
                terms += Math.abs(term);
              }
          yield [Math.max(0, total), terms];
        }
}

test("convolutions have their values, the same bits with 1, 2 and 5 threads and with packed weights", {
  skip: noNative,
}, async () => {
  const results = async (threads: number, kept: boolean): Promise<Float32Array[]> => {
    await device("cpu:native", { options: { threads, grain: 1 } });
    const call = jit(layers, kept ? { frozen: frozen(0) } : {});
    return Promise.all(call(all.map(operands)).map(numbers));
  };
  const one = await results(1, false);
  for (const [i, shape] of all.entries()) {
    const given = await Promise.all(operands(shape).map(numbers));
    let at = 0;
    for (const [value, terms] of expected(shape, given)) {
      const got = one[i]?.[at++] as number;
      assert.ok(Math.abs(got - value) <= 1e-6 * terms, `${JSON.stringify(shape)}: ${got}, not ${value}, at ${at - 1}`);
    }
    assert.equal(one[i]?.length, at);
  }
  for (const [threads, kept] of [
    [2, false],
    [5, true],
    [1, true],
  ] as const)
    assert.deepEqual(await results(threads, kept), one);
});

test("what lies beside a convolution's values may decide which are chosen, and its own may", {
  skip: noNative,
}, async () => {
  await device("cpu:native", { options: { threads: 2, grain: 1 } });
  const [x, w, , beside] = operands(made(2, 16, 14, 32, 3, 1));
  const values = (a: Tensor, b: Tensor): Tensor => conv2d(a, b, { padding: 1 });
  const [y, other] = [await numbers(jit(values)(x, w)), await numbers(beside)];
  const chosen = jit((a: Tensor, b: Tensor, c: Tensor) => where(c.greater(0), values(a, b), c.mul(2)))(x, w, beside);
  assert.deepEqual(
    [...(await numbers(chosen))],
    [...y].map((value, i) => ((other[i] as number) > 0 ? value : 2 * (other[i] as number))),
  );
  const own = jit((a: Tensor, b: Tensor, c: Tensor) => where(values(a, b).greater(0), c, values(a, b)))(x, w, beside);
  assert.deepEqual(
    [...(await numbers(own))],
    [...y].map((value, i) => (value > 0 ? other[i] : value)),
  );
});

test("an image beside a convolution and its first or last column are each themselves", { skip: noNative }, async () => {
  await device("cpu:native", { options: { threads: 2, grain: 1 } });
  for (const size of [4, 7, 14, 28]) {
    const [x, w, , beside] = operands(made(2, 16, size, 32, 3, 1));
    const values = (a: Tensor, b: Tensor): Tensor => conv2d(a, b, { padding: 1 });
    const [y, other] = [await numbers(jit(values)(x, w)), await numbers(beside)];
    for (const column of [0, size - 1]) {
      const got = jit((a: Tensor, b: Tensor, c: Tensor) =>
        values(a, b)
          .add(c)
          .mul(c.narrow(3, column, 1)),
      )(x, w, beside);
      assert.deepEqual(
        await numbers(got),
        y.map((v, i) => Math.fround(v + (other[i] as number)) * (other[i - (i % size) + column] as number)),
      );
    }
  }
});

test("pools whose windows go by steps of two take every other element, up to the last of a row", {
  skip: noNative,
}, async () => {
  await device("cpu:native", { options: { threads: 1 } });
  for (const size of [33, 39, 70]) {
    const [planes, whole] = [3, Math.floor((size - 3) / 2) + 1];
    const x = random.normal(key(size), [1, planes, size, size]);
    const got = await numbers(jit((t: Tensor) => maxPool(t, 3, { stride: 2 }))(x));
    const from = await numbers(x);
    const most = Array.from({ length: planes * whole * whole }, (_, i) => {
      const [plane, row, column] = [
        Math.floor(i / whole / whole),
        2 * (Math.floor(i / whole) % whole),
        2 * (i % whole),
      ];
      const seen = [0, 1, 2].flatMap((k) =>
        [0, 1, 2].map((l) => from[(plane * size + row + k) * size + column + l] as number),
      );
      return Math.max(...seen);
    });
    assert.deepEqual([...got], most);
  }
});
