/** Nests that go side by side through one memory on the native tier: a copy and what surrounds it. Every element is written, by any
 *  number of threads, whatever the iterations of one nest are to those of another. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { arange, concat, device, jit, maximum, pad, type Tensor } from "../core/src/index.ts";
import { noNative } from "./devices.ts";

const images = [
  [3, 5, 4, 4],
  [2, 40, 8, 8],
  [5, 3, 32, 32],
  [1, 7, 3, 33],
  [64, 2, 2, 2],
] as const;
const border = 2;

const computed = jit((all: readonly Tensor[]) =>
  all.flatMap((x) => {
    const amounts = [
      [0, 0],
      [0, 0],
      [1, border],
      [1, 1],
    ] as const;
    return [pad(x, amounts, -1), pad(maximum(x.mul(2), 7), amounts, -1), concat([x, x.add(1), x], 2)];
  }),
);

test("borders and what lies within are written, with 1, 2 and 5 threads", { skip: noNative }, async () => {
  for (const threads of [1, 2, 5]) {
    await device("cpu:native", { options: { threads, grain: 1 } });
    const given = images.map((dims) =>
      arange(
        0,
        dims.reduce<number>((n, d) => n * d, 1),
        1,
        { dtype: "f32" },
      ).reshape(dims),
    );
    const results = await Promise.all(computed(given).map((t) => t.data()));
    for (const [at, [n, c, h, w]] of images.entries()) {
      const [plain, more, joined] = results.slice(3 * at, 3 * at + 3) as [Float32Array, Float32Array, Float32Array];
      const [rows, columns] = [h + 1 + border, w + 2];
      assert.equal(plain.length, n * c * rows * columns);
      for (let i = 0; i < plain.length; i++) {
        const [y, x] = [(Math.floor(i / columns) % rows) - 1, (i % columns) - 1];
        const inside = y >= 0 && y < h && x >= 0 && x < w;
        const value = (Math.floor(i / (rows * columns)) * h + y) * w + x;
        assert.equal(plain[i], inside ? value : -1);
        assert.equal(more[i], inside ? Math.max(2 * value, 7) : -1);
      }
      assert.equal(joined.length, 3 * n * c * h * w);
      for (let i = 0; i < joined.length; i++) {
        const y = Math.floor(i / w) % (3 * h);
        const value = (Math.floor(i / (3 * h * w)) * h + (y % h)) * w + (i % w);
        assert.equal(joined[i], value + (Math.floor(y / h) === 1 ? 1 : 0));
      }
    }
  }
});
