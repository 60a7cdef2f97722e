/** Loads of lanes that lie some elements apart: parts of rows of any length, of every dtype. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { avgPool, device, type DType, jit, maxPool, slice, type Tensor, tensor } from "sinan";

const dtypes: readonly DType[] = ["f32", "i32", "u32", "f64", "i64", "i16", "u8", "f16"];

test("every second and every third element is read from rows of any length, of every dtype", async () => {
  await device("cpu", { options: { threads: 1 } });
  for (const dtype of dtypes) {
    for (const n of dtype === "f32" ? [9, 16, 33, 34, 131] : [37]) {
      const values = Array.from({ length: 2 * n }, (_, i) => (i * 7) % 100);
      const x = tensor(values, { shape: [2, n], dtype });
      for (const [first, step] of [
        [0, 2],
        [1, 2],
        [2, 3],
      ] as const) {
        const part = jit((t: Tensor) =>
          t
            .at(slice(), slice(first, n, step))
            .mul(2)
            .add(1),
        );
        const expected = values.filter((_, i) => i % n >= first && ((i % n) - first) % step === 0);
        assert.deepEqual(
          [...(await part(x).data())].map(Number),
          expected.map((v) => 2 * v + 1),
          `${dtype}, ${n} from ${first} by ${step}`,
        );
      }
    }
  }
});

test("pools of windows of two, over rows of odd and even length", async () => {
  await device("cpu", { options: { threads: 1 } });
  for (const n of [5, 8, 17, 34]) {
    const values = Array.from({ length: 2 * n }, (_, i) => (i * 5) % 64);
    const x = tensor(values, { shape: [1, 2, n] });
    const pairs = [0, n].flatMap((row) =>
      Array.from({ length: Math.floor(n / 2) }, (_, i) => values.slice(row + 2 * i, row + 2 * i + 2)),
    );
    assert.deepEqual(
      [...(await maxPool(x, 2).data())],
      pairs.map((p) => Math.max(...p)),
    );
    assert.deepEqual(
      [...(await avgPool(x, 2).data())],
      pairs.map(([a = 0, b = 0]) => (a + b) / 2),
    );
  }
});
