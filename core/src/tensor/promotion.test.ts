/** The promotion table, every pair of it, as `dtypes.ts` documents it. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import {
  add,
  concat,
  device,
  div,
  type DType,
  DTypeError,
  jit,
  maximum,
  mul,
  sqrt,
  type Tensor,
  tensor,
  where,
  zeros,
} from "../index.ts";
import { promote } from "./dtypes.ts";

before(() => device("interpreter"));

const order = ["bool", "u8", "i8", "u16", "i16", "u32", "i32", "i64", "f16", "bf16", "f32", "f64"] as const;

/** Row with column. */
const table = `
        bool  u8    i8    u16   i16   u32   i32   i64   f16   bf16  f32   f64
  bool  bool  u8    i8    u16   i16   u32   i32   i64   f16   bf16  f32   f64
  u8    u8    u8    i16   u16   i16   u32   i32   i64   f16   bf16  f32   f64
  i8    i8    i16   i8    i32   i16   i64   i32   i64   f16   bf16  f32   f64
  u16   u16   u16   i32   u16   i32   u32   i32   i64   f16   bf16  f32   f64
  i16   i16   i16   i16   i32   i16   i64   i32   i64   f16   bf16  f32   f64
  u32   u32   u32   i64   u32   i64   u32   i64   i64   f16   bf16  f32   f64
  i32   i32   i32   i32   i32   i32   i64   i32   i64   f16   bf16  f32   f64
  i64   i64   i64   i64   i64   i64   i64   i64   i64   f16   bf16  f32   f64
  f16   f16   f16   f16   f16   f16   f16   f16   f16   f16   f32   f32   f64
  bf16  bf16  bf16  bf16  bf16  bf16  bf16  bf16  bf16  f32   bf16  f32   f64
  f32   f32   f32   f32   f32   f32   f32   f32   f32   f32   f32   f32   f64
  f64   f64   f64   f64   f64   f64   f64   f64   f64   f64   f64   f64   f64`;

const rows = table
  .trim()
  .split("\n")
  .slice(1)
  .map((line) => line.trim().split(/\s+/).slice(1));

test("every pair of dtypes meets where the table says", () => {
  assert.equal(rows.length, order.length);
  order.forEach((a, i) =>
    order.forEach((b, j) => {
      const expected = rows[i]?.[j];
      assert.equal(promote(a, b), expected, `${a} ${b}`);
      // Arithmetic follows it; bool counts as i32.
      const sum = add(zeros([2], { dtype: a }), zeros([2], { dtype: b }));
      assert.equal(sum.dtype, expected === "bool" ? "i32" : expected);
    }),
  );
});

const number: readonly (readonly [DType, DType, DType, DType])[] = [
  // dtype, with 2, with 0.5, with true
  ["bool", "i32", "f32", "i32"],
  ["i32", "i32", "f32", "i32"],
  ["u32", "u32", "f32", "u32"],
  ["f32", "f32", "f32", "f32"],
  ["f64", "f64", "f64", "f64"],
];

test("a number is weakly typed beside a tensor, on either side", async () => {
  for (const [dtype, two, half, yes] of number) {
    const x = tensor([1, 0], { dtype });
    assert.equal(mul(x, 2).dtype, two, dtype);
    assert.equal(mul(2, x).dtype, two, dtype);
    assert.equal(mul(x, 0.5).dtype, half, dtype);
    assert.equal(add(x, true).dtype, yes, dtype);
    assert.deepEqual(await mul(x, 2).toArray(), [2, 0]);
  }
  // A double keeps all its digits beside f64.
  assert.deepEqual(await tensor([1], { dtype: "f64" }).mul(0.1).toArray(), [0.1]);
  assert.deepEqual(await tensor([1], { dtype: "f32" }).mul(0.1).toArray(), [Math.fround(0.1)]);
});

test("a number that is traced: weak beside floats, f32 beside integers", async () => {
  const times = jit((x: Tensor, n: number) => mul(x, n));
  for (const [dtype, expected] of [
    ["f64", "f64"],
    ["f32", "f32"],
    ["i32", "f32"],
    ["u32", "f32"],
    ["bool", "f32"],
  ] as const) {
    const y = times(tensor([1, 1], { dtype }), 3);
    assert.equal(y.dtype, expected, dtype);
    assert.deepEqual(await y.toArray(), [3, 3]);
  }
});

test("division and its like are of floats", () => {
  const [i, b] = [tensor([1, 2], { dtype: "i32" }), tensor([true, false])];
  assert.equal(div(i, 2).dtype, "f32");
  assert.equal(div(b, b).dtype, "f32");
  assert.equal(sqrt(i).dtype, "f32");
  assert.equal(i.mean().dtype, "f32");
  assert.equal(i.sum().dtype, "i32");
  assert.equal(b.sum().dtype, "i32");
  assert.equal(maximum(i, 2.5).dtype, "f32");
  assert.equal(i.less(1.5).dtype, "bool");
  assert.equal(where(b, i, 0.5).dtype, "f32");
  assert.equal(where(b, 1, 0).dtype, "f32");
  assert.throws(() => concat([i, i.cast("f32")]), DTypeError);
});
