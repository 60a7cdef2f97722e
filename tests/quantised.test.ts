/** Weights in blocks: ggml's layouts against gguf's own bytes and values, and what a product with them stores. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as s from "../core/src/index.ts";
import { dequantize, fakeQuantize, fromBytes, jit, matmul, quantize, type Tensor, tensor } from "../core/src/index.ts";
import { fuse } from "../core/src/compiler/fuse.ts";
import { groupFn } from "../core/src/compiler/groups.ts";
import { parse } from "../core/src/ir/parse.ts";
import { print } from "../core/src/ir/print.ts";
import { lower } from "../core/src/kernel/index.ts";
import { close } from "./close.ts";
import { onEachDevice } from "./devices.ts";
import { loadCases } from "./fixtures/load.ts";

const { cases } = loadCases("quantised");
const formats = ["q8_0", "q4_0", "q4_k"] as const;

onEachDevice("values and bytes are gguf's", async () => {
  assert.deepEqual(
    cases.map(({ name }) => name),
    formats,
  );
  for (const c of cases) {
    const { data } = c.tensor("bytes");
    const expected = Float32Array.from(c.tensor("values").values);
    const w = fromBytes(c.name, c.shape, data);
    assert.deepEqual(await dequantize(w).data(), expected, c.name);
    assert.deepEqual(await jit(dequantize)(w).data(), expected, c.name);
    if (c.name === "q4_k") continue;
    const x = tensor(Float32Array.from(c.tensor("input").values), { shape: c.shape });
    assert.deepEqual(await quantize(x, c.name).bytes(), new Uint8Array(data), `the bytes of ${c.name}`);
    assert.deepEqual(await jit((y: Tensor) => quantize(y, c.name))(x).bytes(), new Uint8Array(data), c.name);
  }
});

onEachDevice("a weight is at most half a step from its block's value, and a block's values stay", async () => {
  const x = s.random.normal(s.key(3), [5, 512]);
  const values = await x.data();
  for (const dtype of formats) {
    const w = quantize(x, dtype);
    const once = await dequantize(w).data();
    const group = 32;
    for (let at = 0; at < once.length; at += group) {
      const own = Array.from(values.slice(at, at + group), Number);
      const [most, least] = [Math.max(0, ...own), Math.min(0, ...own)];
      const size = Math.max(most, -least);
      // Half a step (q4_0 has one step less on one side), and what rounding the scales costs, which in q4_k have 6 bits.
      const step = dtype === "q8_0" ? size / 127 : dtype === "q4_0" ? size / 8 : (most - least) / 15;
      const limit = { q8_0: 0.5, q4_0: 1, q4_k: 1.2 }[dtype] * step + size * 2 ** -11;
      own.forEach((v, i) => {
        const error = Math.abs(v - (once[at + i] as number));
        assert.ok(error <= limit, `${dtype} [${at + i}]: ${v} became ${once[at + i]}, a step is ${step}`);
      });
    }
    if (dtype !== "q4_k") assert.deepEqual(await quantize(dequantize(w), dtype).bytes(), await w.bytes(), dtype);
  }
});

onEachDevice("a product with blocks is that with their values, of any rows, and its gradient", async () => {
  for (const c of cases) {
    const w = fromBytes(c.name, c.shape, c.tensor("bytes").data);
    const values = tensor(Float32Array.from(c.tensor("values").values), { shape: c.shape });
    for (const rows of [1, 3, 40]) {
      const x = s.random.normal(s.key(rows), [rows, 256]);
      const product = jit((y: Tensor, v: Tensor) => matmul(y, dequantize(v).transpose()));
      const expected = Array.from(await matmul(x, values.transpose()).data(), Number);
      // Sums in another order differ by roundings of what is added, however little is left of it.
      const added = await matmul(x.abs(), values.abs().transpose()).data();
      const absolute = 5e-7 * Math.max(...Array.from(added, Number));
      await close(product(x, w), expected, { relative: 0, absolute }, c.name);
      await close(matmul(x, dequantize(w).transpose()), expected, { relative: 0, absolute }, c.name);
      const slope = (f: (y: Tensor) => Tensor) => s.grad((y: Tensor) => f(y).square().sum())(x);
      const wanted = Array.from(await slope((y) => matmul(y, values.transpose())).data(), Number);
      const size = Math.max(...wanted.map(Math.abs));
      await close(
        slope((y) => product(y, w)),
        wanted,
        { relative: 0, absolute: 1e-5 * size },
        `${c.name} gradient`,
      );
    }
    const mapped = s.vmap((v: Tensor) => matmul(dequantize(v), s.ones([256])))(w.reshape([6, 1, 256]));
    assert.equal(String(mapped.shape), "6,1");
  }
});

onEachDevice("training sees the quantised values, and its gradient passes straight through", async () => {
  const x = s.random.normal(s.key(8), [2, 256]);
  for (const dtype of formats) {
    const seen = await fakeQuantize(x, dtype).data();
    await close(dequantize(quantize(x, dtype)), Array.from(seen, Number), { relative: 1e-6, absolute: 1e-6 });
    const g = s.grad((y: Tensor) => fakeQuantize(y, dtype).mul(x).sum())(x);
    assert.deepEqual(await g.data(), await x.data());
  }
});

const program = `fn @f(%0 "x": f32[64, 512], %1 "w": q4_k[128, 512], %2 "b": f32[128]) {
  %3 = dequantize(%1) : f32[128, 512]
  %4 = dot(%0, %3) {batch: [[], []], contract: [[1], [1]]} : f32[64, 128]
  %5 = reshape(%2) {dims: [1, 128]} : f32[1, 128]
  %6 = expand(%5) {dims: [64, 128]} : f32[64, 128]
  %7 = add(%4, %6) : f32[64, 128]
  return %7
}`;

test("the weights of a product are decoded inside of its kernel and never stored", () => {
  const { groups, stored } = fuse(parse(program));
  assert.equal(groups.length, 1);
  const [group] = groups;
  assert.ok(group && !("call" in group));
  const { fn } = groupFn(group, stored);
  const kernel = lower(fn);
  const buffers = kernel.params.map((p) => print({ ...kernel, params: [p], results: [p] }).split("\n")[0] ?? "");
  assert.match(buffers.join(), new RegExp(`u8\\[${(128 * 512 * 144) / 256}\\]`));
  assert.equal(buffers.filter((b) => b.includes(`f32[${128 * 512}]`)).length, 0);
});

test("what is no block is refused with a way out", () => {
  const x = s.zeros([2, 33]);
  assert.throws(() => quantize(x, "q8_0"), /f32\[2, 33\] does not hold whole blocks of 32/);
  assert.throws(() => quantize(x, "f16" as "q8_0"), s.DTypeError);
  assert.throws(() => dequantize(x), /expected a tensor of blocks, got f32\[2, 33\]/);
  assert.throws(() => fromBytes("q4_k", [256], new Uint8Array(143)), s.ShapeError);
});
