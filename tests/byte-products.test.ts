/** Products of integers of 8 bits in 32: exact on the native tier for every pair of signs, layout and size, with any number of threads. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type DType, device, jit, matmul, tensor, type Tensor } from "../core/src/index.ts";
import { noNative } from "./devices.ts";

/** Rows of one tile and of several, columns and terms that leave some over, terms that are no fours, and one row by whole vectors of terms. */
const sizes = [
  [13, 37, 64],
  [1, 40, 36],
  [1, 13, 192],
  [9, 23, 41],
  [40, 150, 68],
  [31, 64, 48],
  [20, 33, 132],
] as const;
const pairs = [
  ["i8", "i8"],
  ["u8", "i8"],
  ["i8", "u8"],
  ["u8", "u8"],
] as const;

/** Bytes in which the extremes of both kinds are frequent. */
function bytes(dtype: DType, count: number, seed: number): number[] {
  const extremes = dtype === "i8" ? [-128, 127] : [0, 255];
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const byte = state >>> 24;
    return state % 5 === 0 ? (extremes[byte & 1] as number) : dtype === "i8" ? byte - 128 : byte;
  });
}

/** How x [m, k] and w lie. */
const layouts = ["x, w [n, k]", "x, w [k, n]", "x [k, m], w [k, n]"] as const;

async function product(threads: number): Promise<void> {
  await device("cpu:native", { options: { threads, grain: 1 } });
  for (const [m, n, k] of sizes)
    for (const [a, b] of pairs) {
      const x = bytes(a, m * k, 1);
      const w = bytes(b, n * k, 2);
      const wanted = Array.from({ length: m * n }, (_, i) => {
        const [row, column] = [Math.floor(i / n), i % n];
        let sum = 0;
        for (let t = 0; t < k; t++) sum += (x[row * k + t] as number) * (w[column * k + t] as number);
        return sum;
      });
      const across = (of: readonly number[], rows: number): number[] =>
        Array.from({ length: rows * k }, (_, i) => of[(i % rows) * k + Math.floor(i / rows)] as number);
      {
        // Each pair of signs has one layout at each size, and all of them after three.
        const at = sizes.findIndex((size) => size[0] === m) + pairs.findIndex((pair) => pair[0] === a && pair[1] === b);
        const layout = m === 1 && k % 64 === 0 ? 0 : at % 3;
        const name = layouts[layout];
        const left =
          layout === 2 ? tensor(across(x, m), { shape: [k, m], dtype: a }) : tensor(x, { shape: [m, k], dtype: a });
        const right =
          layout === 0 ? tensor(w, { shape: [n, k], dtype: b }) : tensor(across(w, n), { shape: [k, n], dtype: b });
        const multiply = jit((p: Tensor, q: Tensor) =>
          matmul((layout === 2 ? p.transpose() : p).cast("i32"), (layout === 0 ? q.transpose() : q).cast("i32")),
        );
        const got = Array.from(await multiply(left, right).data(), Number);
        assert.deepEqual(got, wanted, `${a} · ${b}, [${m}, ${n}, ${k}], ${name}, ${threads} threads`);
      }
    }
}

test("every pair of signs, layout and size is exact", { skip: noNative }, () => product(1));
test("so it is with 5 threads", { skip: noNative }, () => product(5));

test("columns whose panels are more than a cache holds, of bytes and of bf16", { skip: noNative }, async () => {
  const [m, n, k] = [16, 1100, 2048];
  const [x, w] = [m, n].map((rows, seed) => bytes("i8", rows * k, seed + 3).map((v) => v >> 4)) as [number[], number[]];
  const wanted = Array.from({ length: m * n }, (_, i) => {
    const [row, column] = [Math.floor(i / n) * k, (i % n) * k];
    let sum = 0;
    for (let t = 0; t < k; t++) sum += (x[row + t] as number) * (w[column + t] as number);
    return sum;
  });
  for (const threads of [1, 5]) {
    await device("cpu:native", { options: { threads, grain: 1 } });
    for (const dtype of ["i8", "bf16"] as const) {
      const [p, q] = [tensor(x, { shape: [m, k], dtype }), tensor(w, { shape: [n, k], dtype })];
      const wide = dtype === "i8" ? "i32" : "f32";
      const across = jit((a: Tensor, b: Tensor) => matmul(a.cast(wide), b.cast(wide)))(p, q.transpose().add(0));
      const along = jit((a: Tensor, b: Tensor) => matmul(a.cast(wide), b.transpose().cast(wide)))(p, q);
      for (const [layout, y] of Object.entries({ across, along }))
        assert.deepEqual(Array.from(await y.data(), Number), wanted, `${dtype}, ${layout}, ${threads} threads`);
    }
  }
});
