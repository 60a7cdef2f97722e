import assert from "node:assert/strict";
import { before, test } from "node:test";
import { inspect } from "node:util";
import { arange, device, type DType, type Nested, tensor, zeros } from "../index.ts";

before(() => device("interpreter"));

/** Strings of NumPy 2.4.6's `str` of the same arrays. */
const fromNumpy: readonly (readonly [Nested, DType, string])[] = [
  [[1, 2.5, -3.25], "f64", "[ 1.    2.5  -3.25]"],
  [[1 / 3, 2 / 3, 1], "f32", "[0.33333334 0.6666667  1.        ]"],
  [[1 / 3, 2 / 3, 1], "f64", "[0.33333333 0.66666667 1.        ]"],
  [[1, 2, 3], "f32", "[1. 2. 3.]"],
  [[0.1, 0.2, 0.30000001], "f32", "[0.1 0.2 0.3]"],
  [
    [
      [1, -2.5],
      [100, 0.001],
    ],
    "f32",
    "[[ 1.0e+00 -2.5e+00]\n [ 1.0e+02  1.0e-03]]",
  ],
  [[1e-5, 1, 1000], "f64", "[1.e-05 1.e+00 1.e+03]"],
  [[1.5e10, 2], "f32", "[1.5e+10 2.0e+00]"],
  [[0.5, 600.25], "f64", "[5.0000e-01 6.0025e+02]"],
  [[Number.NaN, 1.5, Infinity, -Infinity], "f64", "[ nan  1.5  inf -inf]"],
  [[Number.NaN, Infinity], "f64", "[nan inf]"],
  [[Number.NaN, 1e-9, -Infinity], "f64", "[   nan 1.e-09   -inf]"],
  [[1.23456789012e-7, 3], "f64", "[1.23456789e-07 3.00000000e+00]"],
  [[-0, 0], "f64", "[-0.  0.]"],
  [
    [
      [0, 0],
      [0, 0],
    ],
    "f64",
    "[[0. 0.]\n [0. 0.]]",
  ],
  [
    [
      [1, -20],
      [300, 4],
    ],
    "i32",
    "[[  1 -20]\n [300   4]]",
  ],
  [
    [
      [
        [0, 1],
        [2, 3],
      ],
      [
        [4, 5],
        [6, 7],
      ],
    ],
    "i32",
    "[[[0 1]\n  [2 3]]\n\n [[4 5]\n  [6 7]]]",
  ],
  [[[[[0, 1]]], [[[2, 3]]]], "i32", "[[[[0 1]]]\n\n\n [[[2 3]]]]"],
  [[4294967295, 0], "u32", "[4294967295          0]"],
  [[9007199254740993n, -1n], "i64", "[9007199254740993               -1]"],
  [1 / 3, "f64", "0.3333333333333333"],
  [0.1, "f32", "0.1"],
  [1, "f32", "1.0"],
  [-0, "f64", "-0.0"],
  [7, "i32", "7"],
  [Number.NaN, "f32", "nan"],
  [1e16, "f64", "1e+16"],
  [1e-5, "f32", "1e-05"],
  [1.5e300, "f64", "1.5e+300"],
];

test("tensors are printed as NumPy prints arrays", async () => {
  for (const [values, dtype, text] of fromNumpy) assert.equal(await tensor(values, { dtype }).toText(), text);
});

test("long lines are broken and long axes abbreviated as NumPy does", async () => {
  assert.equal(
    await arange(40).toText(),
    "[ 0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17 18 19 20 21 22 23\n 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39]",
  );
  assert.equal(
    await arange(30, undefined, 1, { dtype: "f32" }).div(7).toText(),
    "[0.         0.14285715 0.2857143  0.42857143 0.5714286  0.71428573\n 0.85714287 1.         1.1428572  1.2857143  1.4285715  1.5714285\n" +
      " 1.7142857  1.8571428  2.         2.142857   2.2857144  2.4285715\n 2.5714285  2.7142856  2.857143   3.         3.142857   3.2857144\n" +
      " 3.4285715  3.5714285  3.7142856  3.857143   4.         4.142857  ]",
  );
  assert.equal(
    await arange(12, undefined, 1, { dtype: "f64" }).mul(1e-7).toText(),
    "[0.0e+00 1.0e-07 2.0e-07 3.0e-07 4.0e-07 5.0e-07 6.0e-07 7.0e-07 8.0e-07\n 9.0e-07 1.0e-06 1.1e-06]",
  );
  assert.equal(await arange(1001).toText(), "[   0    1    2 ...  998  999 1000]");
  assert.equal(
    await arange(2000).reshape([40, 50]).toText(),
    "[[   0    1    2 ...   47   48   49]\n [  50   51   52 ...   97   98   99]\n [ 100  101  102 ...  147  148  149]\n ...\n" +
      " [1850 1851 1852 ... 1897 1898 1899]\n [1900 1901 1902 ... 1947 1948 1949]\n [1950 1951 1952 ... 1997 1998 1999]]",
  );
  assert.equal(
    await arange(1200, undefined, 1, { dtype: "f32" }).reshape([400, 3]).toText(),
    "[[0.000e+00 1.000e+00 2.000e+00]\n [3.000e+00 4.000e+00 5.000e+00]\n [6.000e+00 7.000e+00 8.000e+00]\n ...\n" +
      " [1.191e+03 1.192e+03 1.193e+03]\n [1.194e+03 1.195e+03 1.196e+03]\n [1.197e+03 1.198e+03 1.199e+03]]",
  );
});

test("booleans are spelt as in JavaScript, an empty tensor is []", async () => {
  assert.equal(await tensor([true, false]).toText(), "[ true false]");
  assert.equal(await zeros([0, 3]).toText(), "[]");
});

test("an object asked for itself says what it is, computes nothing, and leaves the value to be read", async () => {
  const x = tensor([1, 2]).add(1);
  assert.equal(String(x), "Tensor f32[2]");
  assert.equal(inspect(x), "Tensor f32[2]");
  assert.deepEqual(await x.toArray(), [2, 3]);
  assert.equal(await x.toText(), "[2. 3.]");
  assert.deepEqual(await x.toArray(), [2, 3]);
});
