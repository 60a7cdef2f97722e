/** Products by weights of few bits on the native tier: their values, one row alone and in a batch, with any number of threads, and that the
 *  weights are nowhere expanded. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  dequantize,
  device,
  jit,
  key,
  matmul,
  quantize,
  quantizedLinear,
  random,
  softmax,
  type Tensor,
} from "../core/src/index.ts";
import { callOf } from "../core/src/tensor/jit.ts";
import { noNative } from "./devices.ts";

const formats = ["q8_0", "q4_0", "q4_k", "bf16", "f16"] as const;
const [rows, columns, terms] = [13, 37, 512] as const;

type Format = (typeof formats)[number];
const isShort = (format: Format): format is "bf16" | "f16" => format === "bf16" || format === "f16";
const values = (w: Tensor): Tensor => (w.dtype === "bf16" || w.dtype === "f16" ? w.cast("f32") : dequantize(w));
const product = jit((x: Tensor, w: Tensor) => matmul(x, values(w).transpose()));
const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);

const at = (of: readonly number[], i: number): number => of[i] as number;
const sum = (parts: readonly number[]): number => parts.reduce((total, t) => total + t, 0);

/** The product, that of each row by itself, and what both are made of. */
async function all(format: Format, options: { readonly threads: number; readonly grain: number }) {
  await device("cpu:native", { options });
  const x = random.normal(key(1), [rows, terms]);
  const plain = random.normal(key(2), [columns, terms]);
  const w = isShort(format) ? plain.cast(format) : quantize(plain, format);
  const single = await Promise.all(
    Array.from({ length: rows }, (_, i) => numbers(product(x.at(i).reshape([1, terms]), w))),
  );
  return {
    together: await numbers(product(x, w)),
    single: single.flat(),
    x: await numbers(x),
    w: await numbers(values(w)),
  };
}

for (const format of formats)
  test(`${format}: values, rows and threads`, { skip: noNative }, async () => {
    const one = await all(format, { threads: 1, grain: 1 });
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) {
        const parts = Array.from({ length: terms }, (_, k) => at(one.x, i * terms + k) * at(one.w, j * terms + k));
        const [total, size] = [sum(parts), sum(parts.map(Math.abs))];
        const got = at(one.together, i * columns + j);
        // Two roundings of a product, 32 of a partial sum and 4 of their tree, each of 2⁻²⁴ of what is added.
        assert.ok(Math.abs(got - total) <= 38 * 2 ** -24 * size, `[${i}, ${j}]: ${got}, not ${total}`);
      }
    assert.deepEqual(one.single, one.together, "a row alone has the bits that it has in a batch");
    for (const threads of [2, 5])
      assert.deepEqual((await all(format, { threads, grain: 1 })).together, one.together, `${threads} threads`);
  });

test("rows of weights that are read one after another give a row the bits that it has in a batch", {
  skip: noNative,
}, async () => {
  await device("cpu:native", { options: { threads: 2, grain: 1 } });
  const x = random.normal(key(1), [2, 4096]);
  // More than a second cache holds.
  const w = random.normal(key(2), [521, 4096]).cast("bf16");
  const single = await Promise.all([0, 1].map((i) => numbers(product(x.at(i).reshape([1, 4096]), w))));
  assert.deepEqual(single.flat(), await numbers(product(x, w)));
});

/** Bytes that a product keeps beside its operands and result: temporaries of the plan, scratch memory of its kernels, and arrays in their C. */
async function kept(f: (x: Tensor, w: Tensor) => Tensor, x: Tensor, w: Tensor): Promise<number> {
  const call = callOf.get(jit(f));
  assert.ok(call);
  const { blocks, artifacts } = await call([x, w]).program.plan();
  assert.ok(artifacts.length > 0);
  const arrays = artifacts.flatMap(({ codegen, code }) => {
    assert.equal(codegen, "c");
    return [...String(code).matchAll(/\b(?:char|float|double|u?int(?:8|16|32|64)_t|[a-z]+\d+x\d+) \w+\[(\d+)\]/g)];
  });
  return sum([...blocks, ...arrays.map(([, count]) => 8 * Number(count))]);
}

test("no weights of few bits are expanded in memory", { skip: noNative }, async () => {
  await device("cpu:native");
  const [n, k] = [512, 1024] as const;
  const plain = random.normal(key(4), [n, k]);
  const stored = await kept((y, w) => matmul(y, softmax(values(w)).transpose()), plain, quantize(plain, "q8_0"));
  assert.ok(stored >= 4 * n * k, "what is stored is seen");
  for (const m of [1, 8, 128]) {
    const x = random.normal(key(5), [m, k]);
    const byRows = (y: Tensor, w: Tensor): Tensor => matmul(y, values(w).transpose());
    const rounded = (y: Tensor, w: Tensor): Tensor => quantizedLinear(y, w, null, { activations: "int8" });
    const bytes = (y: Tensor, w: Tensor): Tensor => matmul(y.cast("i32"), w.cast("i32").transpose());
    const stay: [string, number][] = [];
    for (const format of formats)
      stay.push([format, await kept(byRows, x, isShort(format) ? plain.cast(format) : quantize(plain, format))]);
    for (const format of ["q8_0", "q4_0"] as const)
      stay.push([`${format}, activations of 8 bits`, await kept(rounded, x, quantize(plain, format))]);
    // The activations of 8 bits with their scales are the most that any of them needs, and stay below 1.5 bytes an element of x.
    for (const [what, most] of stay) assert.ok(most < 0.25 * n * k + 1.5 * m * k, `${what}, ${m} rows: ${most} bytes`);
    // Bytes are packed for many rows, as bytes.
    const packed = await kept(bytes, x.mul(30).cast("i8"), plain.mul(30).cast("i8"));
    assert.ok(packed <= (m > 8 ? n * k : 0) + 1.5 * m * k, `i8, ${m} rows: ${packed} bytes`);
  }
});
