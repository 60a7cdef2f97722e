/** Linear maps by weights in blocks with activations rounded to 8 bits: values by llama.cpp's rule, how far they are from the unrounded ones,
 *  rows alone and in batches, any number of threads. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as s from "../core/src/index.ts";
import {
  dequantize,
  device,
  fromBytes,
  jit,
  key,
  quantize,
  quantizedLinear,
  random,
  tensor,
  type Tensor,
} from "../core/src/index.ts";
import { noNative, onEachDevice } from "./devices.ts";
import { loadCases, named } from "./fixtures/load.ts";

const { cases, tensors } = loadCases("quantised-linear");
const x32 = Float32Array.from(named(tensors, "x").values);
const [rows, terms] = [11, 512] as const;
const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);
const linear = (x: Tensor, w: Tensor): Tensor => quantizedLinear(x, w, null, { activations: "int8" });
const at = (of: ArrayLike<number>, i: number): number => of[i] as number;

async function areTheirs(): Promise<void> {
  assert.deepEqual(
    cases.map(({ name }) => name),
    ["q8_0", "q4_0", "q4_k"],
  );
  for (const { name, shape, tensor: part } of cases) {
    const w = fromBytes(name, shape, part("w").data);
    const x = tensor(x32, { shape: [rows, terms] });
    const wanted = part("y").values;
    const added = part("added").values;
    for (const y of [linear(x, w), jit(linear)(x, w)])
      (await numbers(y)).forEach((got, i) => {
        // Of each of 16 blocks a rounding by either scale and one of the sum; a minimum is a product and a sum more.
        const limit = (name === "q4_k" ? 35 : 18) * 2 ** -24 * at(added, i);
        assert.ok(Math.abs(got - at(wanted, i)) <= limit, `${name} [${i}]: ${got}, not ${at(wanted, i)}`);
      });
    const single = await Promise.all(
      Array.from({ length: rows }, (_, i) => numbers(linear(x.at(i).reshape([1, terms]), w))),
    );
    assert.deepEqual(
      single.flat(),
      await numbers(linear(x, w)),
      `${name}: a row alone has the bits that it has in a batch`,
    );
  }
}

onEachDevice("values are llama.cpp's, jitted and not", areTheirs);
test("values are llama.cpp's on the native tier", { skip: noNative }, async () => {
  await device("cpu:native");
  await areTheirs();
});

onEachDevice("rounding moves a value by half of its block's scale at most", async () => {
  const x = random.normal(key(1), [3, 2, 512]);
  const values = await numbers(x);
  for (const dtype of ["q8_0", "q4_0", "q4_k"] as const) {
    const w = quantize(random.normal(key(2), [5, 512]), dtype);
    const bias = random.normal(key(3), [5]);
    const ours = quantizedLinear(x, w, bias, { activations: "int8" });
    const plain = quantizedLinear(x, w, bias);
    assert.deepEqual(ours.shape, [3, 2, 5]);
    const weights = await numbers(dequantize(w));
    const [got, exact] = [await numbers(ours), await numbers(plain)];
    for (let m = 0; m < 6; m++)
      for (let n = 0; n < 5; n++) {
        let limit = 0;
        let size = 0;
        for (let b = 0; b < 512; b += 32) {
          const own = values.slice(512 * m + b, 512 * m + b + 32);
          const scale = Math.max(...own.map(Math.abs)) / 127;
          own.forEach((v, i) => {
            const weight = Math.abs(at(weights, 512 * n + b + i));
            // Half a step, and the scale itself is rounded to 11 bits.
            limit += (scale / 2 + Math.abs(v) * 2 ** -11) * weight;
            size += Math.abs(v) * weight;
          });
        }
        const error = Math.abs(at(got, 5 * m + n) - at(exact, 5 * m + n));
        assert.ok(error <= limit + 2 ** -18 * size, `${dtype} [${m}, ${n}]: ${error} is more than ${limit}`);
        assert.ok(error > 0, `${dtype} [${m}, ${n}]: nothing was rounded`);
      }
  }
});

onEachDevice("vmap maps rows, and weights; short floats are rounded from f32; gradients are refused", async () => {
  for (const dtype of ["q8_0", "q4_0", "q4_k"] as const) {
    const k = dtype === "q4_k" ? 256 : 64;
    const x = random.normal(key(4), [3, k]);
    const w = quantize(random.normal(key(5), [7, k]), dtype);
    assert.throws(
      () => s.grad((y: Tensor) => quantizedLinear(y, w, null, { activations: "int8" }).sum())(x),
      /activations that are rounded to 8 bits have no gradient/,
    );
    const mapped = s.vmap((y: Tensor) => linear(y.reshape([1, k]), w).reshape([7]));
    assert.deepEqual(await numbers(mapped(x)), await numbers(linear(x, w)));
    const two = quantize(random.normal(key(8), [2, 7, k]), dtype);
    const both = await numbers(s.vmap((v: Tensor) => linear(x, v))(two));
    const seen = dequantize(quantize(x, "q8_0"));
    const wanted = await numbers(s.matmul(seen, dequantize(two).transpose([0, 2, 1])));
    both.forEach((got, i) => assert.ok(Math.abs(got - at(wanted, i)) < 1e-4, `[${i}]: ${got}, not ${at(wanted, i)}`));
    const halves = x.cast("f16");
    assert.deepEqual(await numbers(linear(halves, w)), await numbers(linear(halves.cast("f32"), w)));
  }
});

test("any number of threads, and any place of a row in a tile, gives the same bits", { skip: noNative }, async () => {
  for (const dtype of ["q8_0", "q4_0", "q4_k"] as const) {
    const results: number[][] = [];
    for (const threads of [1, 2, 5]) {
      await device("cpu:native", { options: { threads, grain: 1 } });
      const x = random.normal(key(6), [21, 512]);
      const w = quantize(random.normal(key(7), [83, 512]), dtype);
      results.push(await numbers(linear(x, w)));
      if (threads > 1) continue;
      const some = await numbers(linear(x.narrow(0, 3, 13), w));
      assert.deepEqual(some, results[0]?.slice(3 * 83, 16 * 83));
    }
    assert.deepEqual(results[1], results[0], `${dtype}: 2 threads`);
    assert.deepEqual(results[2], results[0], `${dtype}: 5 threads`);
  }
});

test("what does not fit is refused", () => {
  const w = quantize(s.ones([4, 64]), "q8_0");
  const x = s.ones([2, 64]);
  assert.throws(() => quantizedLinear(x, w, null, { activations: "int4" as "int8" }), /"float" or "int8", got "int4"/);
  assert.throws(() => quantizedLinear(s.ones([2, 32]), w), /expected x \[\.\.\., in\] and weight \[out, in\]/);
  assert.throws(() => quantizedLinear(x, w, s.ones([5])), s.ShapeError);
  assert.throws(() => quantizedLinear(x, s.ones([4, 64])), s.DTypeError);
});
