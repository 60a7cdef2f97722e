/** Making, reading and freeing tensors. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import {
  arange,
  device,
  DisposedError,
  dtypes,
  eye,
  fromBytes,
  full,
  iota,
  memory,
  ones,
  onesLike,
  ShapeError,
  slice,
  type Tensor,
  tensor,
  TraceError,
  jit,
  vjp,
  zeros,
  zerosLike,
  type DType,
} from "../index.ts";

before(() => device("interpreter"));

test("values in, the same values out", async () => {
  const nested = [
    [
      [1, 2],
      [3, 4],
    ],
    [
      [5, 6],
      [7, 8],
    ],
  ];
  const x = tensor(nested);
  assert.deepEqual([x.dtype, x.shape, x.rank, x.size], ["f32", [2, 2, 2], 3, 8]);
  assert.deepEqual(await x.toArray(), nested);
  assert.deepEqual(await x.data(), Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  assert.equal(await tensor(3.5).item(), 3.5);
  assert.deepEqual(await tensor([true, false]).toArray(), [true, false]);
  assert.deepEqual(await tensor([2n ** 60n, -1n], { dtype: "i64" }).toArray(), [2n ** 60n, -1n]);
  assert.deepEqual(await tensor([[], []]).toArray(), [[], []]);
  assert.deepEqual(tensor([[], []]).shape, [2, 0]);
  assert.deepEqual(await tensor(Float64Array.of(0.1, 0.2, 0.3, 0.4), { shape: [2, 2] }).toArray(), [
    [0.1, 0.2],
    [0.3, 0.4],
  ]);
});

test("a typed array brings its dtype; another one may be asked for", () => {
  const arrays = [
    Float32Array.of(1),
    Float64Array.of(1),
    Int8Array.of(1),
    Uint8Array.of(1),
    Int16Array.of(1),
    Uint16Array.of(1),
    Int32Array.of(1),
    Uint32Array.of(1),
    BigInt64Array.of(1n),
  ];
  assert.deepEqual(
    arrays.map((a) => tensor(a).dtype),
    ["f32", "f64", "i8", "u8", "i16", "u16", "i32", "u32", "i64"],
  );
  assert.equal(tensor([true]).dtype, "bool");
  for (const dtype of Object.keys(dtypes) as DType[])
    if (dtypes[dtype].role !== "block") assert.equal(tensor([1], { dtype }).dtype, dtype);
});

test("values are copied out of an array, one whose slice shares its memory too, as that of Node's Buffer does", async () => {
  class Sharing extends Uint8Array<ArrayBuffer> {
    override slice(begin?: number, end?: number): Uint8Array<ArrayBuffer> {
      return this.subarray(begin, end);
    }
  }
  const given = new Sharing(Uint8Array.of(9, 1, 2, 3, 9).buffer, 1, 3);
  const x = tensor(given);
  given.fill(0);
  assert.deepEqual(await x.data(), Uint8Array.of(1, 2, 3));
  const large = BigInt64Array.of(2n ** 62n + 1n);
  assert.deepEqual(await tensor(large).data(), large);
});

test("values are rounded to the dtype once, ties to even", async () => {
  assert.deepEqual(
    await tensor([1 + 2 ** -11, 1 + 3 * 2 ** -11, 65520, 2 ** -25], { dtype: "f16" }).data(),
    Float32Array.of(1, 1 + 2 ** -9, Infinity, 0),
  );
  assert.deepEqual(
    await tensor([1 + 2 ** -8, 1 + 3 * 2 ** -8], { dtype: "bf16" }).data(),
    Float32Array.of(1, 1 + 2 ** -6),
  );
  assert.deepEqual(await tensor([0.1], { dtype: "f32" }).data(), Float32Array.of(0.1));
  assert.deepEqual(await tensor([Number.NaN, 1e30], { dtype: "i64" }).at(0).toArray(), 0n);
});

test("bytes are storage order, little-endian, for every dtype that has elements", async () => {
  for (const dtype of Object.keys(dtypes) as DType[]) {
    if (dtypes[dtype].role === "block") continue;
    const bytes = Uint8Array.from({ length: 6 * dtypes[dtype].bytes }, (_, i) => (dtype === "bool" ? i % 2 : i));
    assert.deepEqual(await fromBytes(dtype, [2, 3], bytes).bytes(), bytes, dtype);
  }
});

test("the array given may be changed afterwards, and so may the one read", async () => {
  const values = Float32Array.of(1, 2);
  const x = tensor(values);
  values.fill(9);
  const read = await x.data();
  assert.deepEqual(read, Float32Array.of(1, 2));
  read.fill(7);
  assert.deepEqual(await x.data(), Float32Array.of(1, 2));
});

test("tensors from nothing", async () => {
  assert.deepEqual(await zeros([2, 1]).toArray(), [[0], [0]]);
  assert.deepEqual(await ones([2], { dtype: "i32" }).toArray(), [1, 1]);
  assert.deepEqual(await full([], 2.5, { dtype: "f64" }).toArray(), 2.5);
  assert.deepEqual(await full([2], 1, { dtype: "bool" }).toArray(), [true, true]);
  assert.deepEqual(await zeros([0, 2]).toArray(), []);
  assert.deepEqual(await eye(2).toArray(), [
    [1, 0],
    [0, 1],
  ]);
  assert.deepEqual(await arange(2, 8, 2).toArray(), [2, 4, 6]);
  assert.deepEqual(await arange(3, 0, -1).toArray(), [3, 2, 1]);
  assert.deepEqual(await arange(0, 1, 0.25).toArray(), [0, 0.25, 0.5, 0.75]);
  assert.deepEqual(
    [arange(3).dtype, arange(0.5).dtype, arange(3, undefined, 1, { dtype: "f64" }).dtype],
    ["i32", "f32", "f64"],
  );
  assert.deepEqual(await iota([2, 2], 1).toArray(), [
    [0, 1],
    [0, 1],
  ]);
  const like = zerosLike(tensor([[1, 2]], { dtype: "f64" }));
  assert.deepEqual([like.dtype, like.shape, onesLike(like).dtype], ["f64", [1, 2], "f64"]);
});

test("reading does not consume, and reads may run together", async () => {
  const x = tensor([1, 2]).mul(3).sum();
  assert.deepEqual(await Promise.all([x.item(), x.item(), x.toArray(), x.toText()]), [9, 9, 9, "9.0"]);
  assert.equal(await x.item(), 9);
  await assert.rejects(tensor([1, 2]).item(), ShapeError);
});

test("disposing twice is harmless; what is used afterwards says so", async () => {
  const x = tensor([1, 2]);
  x.dispose();
  x.dispose();
  assert.equal(x.disposed, true);
  assert.equal(String(x), "Tensor f32[2] (disposed)");
  assert.throws(() => x.add(1), DisposedError);
  await assert.rejects(x.data(), DisposedError);
  assert.deepEqual([x.shape, x.dtype], [[2], "f32"]);
});

test("pending results keep what they need of a disposed tensor", async () => {
  const x = tensor([1, 2]);
  const y = x.mul(10);
  const z = y.add(1);
  x.dispose();
  y.dispose();
  assert.deepEqual(await z.toArray(), [11, 21]);
});

// `using` itself is left out of the sources: Node 22 does not read it.
test("dispose and Symbol.dispose free the memory at once", async () => {
  const live = () => memory().live;
  const start = live();
  const x = tensor(new Float32Array(1 << 16));
  await x.data();
  assert.equal(live() - start, 1 << 18);
  x.dispose();
  assert.equal(live(), start);
  const y = tensor(new Float32Array(1 << 16)).add(1);
  await y.data();
  assert.ok(live() > start);
  y[Symbol.dispose]();
  // The operand of `add` was nobody's, so it goes with the collector.
  assert.ok(live() - start <= 1 << 18);
});

test("reading a part keeps nothing of a disposed tensor", async () => {
  const live = () => memory().live;
  const x = tensor(new Float32Array(1 << 16).fill(3));
  await x.data();
  const start = live();
  // Between x and the element lie a slice and a reshape, which nobody holds.
  assert.equal(await x.at(7).item(), 3);
  const flat = x.reshape([256, 256]);
  const row = flat.at(0);
  await row.data();
  row.dispose();
  x.dispose();
  assert.ok(live() >= start, "flat may still be read");
  assert.equal((await flat.data()).length, 1 << 16);
  const y = tensor(new Float32Array(1 << 16));
  await y.data();
  const before = live();
  const other = y.reshape([256, 256]);
  const first = other.at(0);
  await first.data();
  for (const t of [first, other, y]) t.dispose();
  assert.equal(live(), before - (1 << 18));
});

test("a pull-back has what it needs though the arguments and the result were read and disposed of", async () => {
  const x = tensor([1, 2, 3]);
  const [y, pull] = vjp((v: Tensor) => v.square().at(slice(1)).mul(2), x);
  assert.deepEqual(await y.toArray(), [8, 18]);
  x.dispose();
  y.dispose();
  assert.deepEqual(await pull(tensor([1, 1]))[0].toArray(), [0, 8, 12]);
});

test("a disposed result that was computed with others leaves those alone", async () => {
  const x = tensor([1, 2, 3]).add(0);
  const [a, b] = [x.reshape([3, 1]), x.add(0)];
  await Promise.all([a.data(), b.data(), x.data()]);
  a.dispose();
  assert.deepEqual(await x.toArray(), [1, 2, 3]);
  x.dispose();
  assert.deepEqual(await b.toArray(), [1, 2, 3]);
});

test("assign gives the handle a new value; what came before keeps the old one", async () => {
  const x = tensor([1, 2]);
  const before = x.mul(1);
  x.assign(tensor([5, 6]));
  assert.deepEqual(await before.toArray(), [1, 2]);
  assert.deepEqual(await x.toArray(), [5, 6]);
  const other = tensor([7, 8]);
  x.assign(other);
  other.dispose();
  assert.deepEqual(await x.toArray(), [7, 8]);
});

test("a tensor is not a number, and a traced one has no value", () => {
  assert.throws(() => Number(tensor(1)), /not a number; read it with await item/);
  assert.throws(() => jit((x: Tensor) => Number(x))(tensor(1)));
  let escaped: Promise<unknown> = Promise.resolve();
  jit((x: Tensor) => {
    escaped = x.data();
    return x;
  })(tensor(1));
  return assert.rejects(escaped, TraceError);
});

test("a tensor of a trace that got out is refused", () => {
  let out: Tensor | undefined;
  jit((x: Tensor) => {
    out = x.add(1);
    return x;
  })(tensor(1));
  assert.ok(out);
  assert.throws(() => jit((x: Tensor) => x)(out as Tensor), TraceError);
  assert.throws(() => out?.add(1), TraceError);
  return assert.rejects(out.data(), TraceError);
});

test("two handles of one value: disposing of one leaves the other", async () => {
  const x = tensor([1, 2]);
  const others = [x.cast("f32"), x.reshape([2]), x.stopGradient(), x.sum([]), x.transpose()];
  await Promise.all(others.map((t) => t.data()));
  x.dispose();
  for (const t of others) assert.deepEqual(await t.toArray(), [1, 2]);
  const y = tensor([3]);
  const [a, b] = [y.add(1), y.add(1)];
  await jit((u: Tensor, v: Tensor) => u.add(v))(a, b).data();
  a.dispose();
  assert.deepEqual(await b.toArray(), [4]);
});

test("a read that has begun is finished though the tensor is disposed of; so is a call", async () => {
  const read = () => {
    const y = tensor([1, 2]).add(1);
    try {
      return y.data();
    } finally {
      y[Symbol.dispose]();
    }
  };
  assert.deepEqual(await read(), Float32Array.of(2, 3));
  // The first call waits for its kernel to be loaded, so its arguments are still needed when it returns.
  const step = jit((x: Tensor) => x.mul(3).sub(1).sqrt().floor());
  const x = tensor([5, 10]).mul(1);
  const y = step(x);
  x.dispose();
  const z = step(y);
  y.dispose();
  assert.deepEqual(await z.toArray(), [2, 3]);
});
