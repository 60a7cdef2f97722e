/** Arithmetic in every dtype: integers against BigInts, narrow floats against values rounded by the bits of IEEE 754's rule,
 *  and how typed arrays come in and out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as s from "../core/src/index.ts";
import { type DType, dtypes, jit, nn, optim, type Tensor, tensor, type TypedArray } from "../core/src/index.ts";
import { onEachDevice } from "./devices.ts";

const integers = ["i8", "u8", "i16", "u16", "i32", "u32", "i64"] as const;
type Integer = (typeof integers)[number];

const wrap = (dtype: Integer, x: bigint): bigint =>
  dtypes[dtype].kind === "int" ? BigInt.asIntN(dtypes[dtype].bits, x) : BigInt.asUintN(dtypes[dtype].bits, x);

function edges(dtype: Integer): bigint[] {
  const bits = BigInt(dtypes[dtype].bits);
  const [least, most] =
    dtypes[dtype].kind === "int" ? [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n] : [0n, 2n ** bits - 1n];
  const signed = dtypes[dtype].kind === "int" ? [-1n, -2n, -7n, -100n] : [];
  return [least, least + 1n, most, most - 1n, most / 3n, 0n, 1n, 2n, 3n, 7n, 100n, ...signed];
}

/** Python's rules, by 0 giving 0. */
const floorMod = (a: bigint, b: bigint): bigint => (b === 0n ? 0n : ((a % b) + b) % b);
const meanings: readonly (readonly [(a: Tensor, b: Tensor) => Tensor, (a: bigint, b: bigint) => bigint])[] = [
  [s.add, (a, b) => a + b],
  [s.sub, (a, b) => a - b],
  [s.mul, (a, b) => a * b],
  [s.floorDivide, (a, b) => (b === 0n ? 0n : (a - floorMod(a, b)) / b)],
  [s.mod, floorMod],
  [s.maximum, (a, b) => (a > b ? a : b)],
  [s.minimum, (a, b) => (a < b ? a : b)],
  [s.and, (a, b) => a & b],
  [s.or, (a, b) => a | b],
  [s.xor, (a, b) => a ^ b],
];

const whole = async (x: Tensor): Promise<bigint[]> => Array.from((await x.data()) as Int32Array, (v) => BigInt(v));

onEachDevice("integers of every width wrap, divide and compare exactly", async () => {
  for (const dtype of integers) {
    const values = edges(dtype);
    const left = values.flatMap((x) => values.map(() => x));
    const right = values.flatMap(() => values);
    const [a, b] = [tensor(left, { dtype }), tensor(right, { dtype })];
    for (const [n, [operation, meaning]] of meanings.entries()) {
      const y = operation(a, b);
      assert.equal(y.dtype, dtype);
      const expected = left.map((x, i) => wrap(dtype, meaning(x, right[i] as bigint)));
      assert.deepEqual(await whole(y), expected, `operation ${n} of ${dtype}`);
    }
    const compared = left.map((x, i) => BigInt(x < (right[i] as bigint)));
    assert.deepEqual(await whole(a.less(b)), compared, `less ${dtype}`);
    const chain = jit((x: Tensor, y: Tensor) => x.mul(y).sub(x).neg().abs().mul(3))(a, b);
    const size = (x: bigint) => (x < 0n ? wrap(dtype, -x) : x);
    assert.deepEqual(
      await whole(chain),
      left.map((x, i) => {
        const difference = wrap(dtype, wrap(dtype, x * (right[i] as bigint)) - x);
        return wrap(dtype, size(wrap(dtype, -difference)) * 3n);
      }),
      `a chain of ${dtype}`,
    );
  }
});

onEachDevice("shifts past the last bit, reductions and products of integers", async () => {
  for (const dtype of integers) {
    const { bits } = dtypes[dtype];
    const values = edges(dtype);
    const x = tensor(values, { dtype });
    for (const by of [0, 1, bits - 1, bits, bits + 5]) {
      const left = by < bits ? values.map((v) => wrap(dtype, v << BigInt(by))) : values.map(() => 0n);
      assert.deepEqual(await whole(x.shiftLeft(by)), left, `${dtype} << ${by}`);
      assert.deepEqual(
        await whole(x.shiftRight(by)),
        values.map((v) => v >> BigInt(by)),
        `${dtype} >> ${by}`,
      );
    }
    const wide = bits >= 32 ? dtype : dtypes[dtype].kind === "int" ? "i32" : "u32";
    assert.equal(x.sum().dtype, wide);
    assert.deepEqual(await whole(x.sum()), [
      wrap(
        wide,
        values.reduce((p, q) => p + q),
      ),
    ]);
    assert.deepEqual(await whole(x.prod()), [0n]);
    assert.deepEqual(await whole(x.max()), [values.reduce((p, q) => (p > q ? p : q))]);
    assert.deepEqual(await whole(x.min()), [values.reduce((p, q) => (p < q ? p : q))]);
    const dot = values.reduce((sum, v) => sum + v * v, 0n);
    assert.deepEqual(await whole(s.matmul(x, x)), [wrap(dtype, dot)], `${dtype} · ${dtype}`);
    const least = dtypes[dtype].kind === "int" ? -(2n ** BigInt(bits - 1)) : 0n;
    assert.deepEqual(await whole(s.zeros([0], { dtype }).max()), [least], `the maximum of no ${dtype}`);
  }
});

/** The value of a narrow float nearest to x, ties to even, by scaling to whole numbers. */
function nearest(x: number, { digits, least, most }: { digits: number; least: number; most: number }): number {
  if (!Number.isFinite(x) || x === 0) return x;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), least);
  const unit = 2 ** (exponent - digits + 1);
  const scaled = x / unit;
  const floor = Math.floor(scaled);
  const up = scaled - floor > 0.5 || (scaled - floor === 0.5 && floor % 2 !== 0);
  const y = (up ? floor + 1 : floor) * unit;
  return Math.abs(y) > most ? Math.sign(x) * Number.POSITIVE_INFINITY : y === 0 && x < 0 ? -0 : y;
}
const formats = {
  f16: { digits: 11, least: -14, most: 65504 },
  bf16: { digits: 8, least: -126, most: 2 ** 127 * (2 - 2 ** -7) },
} as const;

onEachDevice("f16 and bf16 round once an operation, alone and in a fused chain, and overflow to infinity", async () => {
  for (const dtype of ["f16", "bf16"] as const) {
    const round = (x: number): number => nearest(x, formats[dtype]);
    const { most } = formats[dtype];
    const values = [1, -1, 0.1, 1 / 3, -2.7, 1000.3, -0.004, 257, 3e-7, -6e-8, most, -most, most / 3].map(round);
    const [p, q] = [values.flatMap((x) => values.map(() => x)), values.flatMap(() => values)];
    const [a, b] = [tensor(p, { dtype }), tensor(q, { dtype })];
    const exact = [
      [s.add, (x: number, y: number) => x + y],
      [s.mul, (x: number, y: number) => x * y],
      [s.div, (x: number, y: number) => x / y],
    ] as const;
    for (const [n, [operation, f]] of exact.entries()) {
      const y = operation(a, b);
      assert.equal(y.dtype, dtype);
      assert.deepEqual(
        Array.from(await y.data(), Number),
        p.map((x, i) => round(f(x, q[i] as number))),
        `operation ${n} of ${dtype}`,
      );
    }
    const chain = jit((x: Tensor, y: Tensor) => s.maximum(x.mul(y).add(x), y).neg().sub(0.1));
    assert.deepEqual(
      Array.from(await chain(a, b).data(), Number),
      p.map((x, i) => {
        const y = q[i] as number;
        return round(-Math.max(round(round(x * y) + x), y) - round(0.1));
      }),
      `a chain of ${dtype}`,
    );
  }
});

onEachDevice("sums, products and scattered sums of 16 bits accumulate in f32", async () => {
  for (const dtype of ["f16", "bf16"] as const) {
    // Term by term in bf16 the sum of ones would stop at 256, in f16 at 2 048.
    const ones = s.ones([3000], { dtype });
    const expected = nearest(3000, formats[dtype]);
    assert.equal(ones.sum().dtype, dtype);
    assert.equal(await ones.sum().item(), expected);
    assert.equal(await s.matmul(ones, ones).item(), expected);
    const places = s.zeros([3000], { dtype: "i32" });
    assert.deepEqual(await s.zeros([1], { dtype }).scatter(places, ones).toArray(), [expected]);
    assert.equal(await ones.mean().item(), 1);
    assert.deepEqual(
      await s
        .grad((x: Tensor) => x.mul(x).sum())(tensor([1, 2, 3], { dtype }))
        .toArray(),
      [2, 4, 6],
    );
  }
});

onEachDevice("floats to integers stop at the ends, NaN gives 0; integers to narrower ones wrap", async () => {
  const x = tensor(
    Float64Array.of(1.9, -1.9, 1e30, -1e30, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN),
  );
  for (const from of ["f64", "f32", "bf16"] as const)
    for (const dtype of integers) {
      const { kind, bits } = dtypes[dtype];
      const most = 2n ** BigInt(kind === "int" ? bits - 1 : bits) - 1n;
      const least = kind === "int" ? -most - 1n : 0n;
      const one = kind === "int" ? -1n : 0n;
      assert.deepEqual(
        await whole(x.cast(from).cast(dtype)),
        [1n, one, most, least, most, least, 0n],
        `${from} ${dtype}`,
      );
    }
  const wide = tensor([300n, -1n, 65536n + 7n, 2n ** 40n + 3n]);
  for (const dtype of integers)
    assert.deepEqual(
      await whole(wide.cast(dtype)),
      [300n, -1n, 65536n + 7n, 2n ** 40n + 3n].map((v) => wrap(dtype, v)),
    );
});

onEachDevice("indices of any integer dtype; an i64 beyond 32 bits is outside", async () => {
  const x = tensor([10, 20, 30]);
  for (const dtype of integers) {
    const at = tensor([2, 0, 5], { dtype });
    assert.deepEqual(await x.take(at).toArray(), [30, 10, Number.NaN], dtype);
    assert.deepEqual(await x.scatter(at, tensor([1, 2, 3])).toArray(), [12, 20, 31], dtype);
    assert.deepEqual(await s.takeAlongAxis(x, at, 0).toArray(), [30, 10, Number.NaN], dtype);
  }
  assert.deepEqual(await x.take(tensor([2n ** 32n, -(2n ** 32n), 1n])).toArray(), [Number.NaN, Number.NaN, 20]);
});

onEachDevice("typed arrays become the dtype that they hold, and come back", async () => {
  const arrays: readonly (readonly [TypedArray, DType])[] = [
    [Int8Array.of(-128, 0, 127), "i8"],
    [Uint8Array.of(0, 255), "u8"],
    [Int16Array.of(-32768, 32767), "i16"],
    [Uint16Array.of(0, 65535), "u16"],
    [Int32Array.of(-(2 ** 31), 2 ** 31 - 1), "i32"],
    [Uint32Array.of(2 ** 32 - 1), "u32"],
    [BigInt64Array.of(-(2n ** 63n), 2n ** 63n - 1n), "i64"],
    [Float32Array.of(0.1), "f32"],
    [Float64Array.of(0.1), "f64"],
  ];
  for (const [array, dtype] of arrays) {
    assert.equal(tensor(array).dtype, dtype);
    assert.deepEqual(await tensor(array).data(), array);
    assert.deepEqual(await tensor(array).add(0).data(), array, dtype);
  }
  if (typeof Float16Array === "function") {
    const x = tensor(Float16Array.of(0.1, 65504));
    assert.equal(x.dtype, "f16");
    assert.deepEqual(await x.data(), Float32Array.of(0.0999755859375, 65504));
  }
  assert.equal(await tensor([2n ** 63n - 1n, -5n]).toText(), "[9223372036854775807                  -5]");
  assert.equal(await tensor([0.1, 1000], { dtype: "bf16" }).toText(), "[1.e-01 1.e+03]");
});

test("a jitted function takes and gives every dtype", async () => {
  await s.device("cpu");
  const twice = jit((x: Tensor) => x.add(x));
  for (const dtype of [...integers, "f16", "bf16", "f32", "f64"] as const) {
    const y = twice(tensor([1, 2, 3, 4, 5], { dtype }));
    assert.equal(y.dtype, dtype);
    assert.deepEqual(Array.from(await y.data(), Number), [2, 4, 6, 8, 10]);
  }
});

onEachDevice("a network of 16-bit parameters trains, its means in f32", async () => {
  const x = s.random.normal(s.key(1), [24, 8]);
  const y = s.arange(24).mod(3);
  for (const dtype of ["bf16", "f16"] as const) {
    const model = nn.sequential(nn.linear(8, 16), nn.layerNorm(16), nn.gelu, nn.linear(16, 3)).init(s.key(0));
    const adam = optim.adamW({ learningRate: 3e-2 });
    let state = adam.init(s.tree.map((p: Tensor) => p.cast(dtype), model));
    const step = jit((now: typeof state) => {
      const [loss, grads] = s.valueAndGrad((m: typeof model) => nn.crossEntropy(m(x.cast(dtype)), y))(now.model);
      const { grads: clipped } = optim.clipByGlobalNorm(grads, 1);
      return { loss, next: adam.update(now, clipped) };
    });
    const losses: number[] = [];
    for (let i = 0; i < 20; i++) {
      const { loss, next } = step(state);
      state = next;
      losses.push(await loss.item());
    }
    assert.ok((losses[19] as number) < 0.2 * (losses[0] as number), `${dtype}: ${losses.join(" ")}`);
    assert.ok(s.tree.tensors(state.model).every((l) => l.tensor.dtype === dtype));
    assert.ok(s.tree.tensors(state.m).every((l) => l.tensor.dtype === "f32"));
  }
});
