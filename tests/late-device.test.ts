/** A program keeps its meaning on a device that is opened after it ran on another one: what the compiler keeps of a function is of no device. This
 *  file opens none before. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { device, jit, scatter, type Tensor, tensor } from "../core/src/index.ts";

const put = jit((cache: Tensor, at: Tensor, rows: Tensor) => scatter(cache, at, rows, { mode: "set" }).mul(2));

test("rows that a scatter leaves alone are there on a device that comes later", async () => {
  for (const name of ["interpreter", "sim", "cpu", "interpreter"]) {
    await device(name);
    const cache = tensor([0, 1, 2, 3, 4, 5], { shape: [3, 2] });
    const changed = put(cache, tensor([1], { dtype: "i32" }), tensor([[9, 8]]));
    assert.deepEqual([...((await changed.data()) as Float32Array)], [0, 2, 18, 16, 8, 10], name);
  }
});
