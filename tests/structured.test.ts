/** Structured operations at sizes and layouts that the fixtures are too small for, against sums and searches written out in
 *  doubles. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  argmax,
  argsort,
  conv,
  cummax,
  cumsum,
  type DType,
  grad,
  jit,
  key,
  maxPool,
  putAlongAxis,
  putAt,
  type PutMode,
  random,
  slice,
  sort,
  stack,
  takeAlongAxis,
  takeAt,
  type Tensor,
  tensor,
  topK,
  vmap,
} from "../core/src/index.ts";
import { lower } from "../core/src/kernel/index.ts";
import { parse } from "../core/src/ir/parse.ts";
import { verify } from "../core/src/ir/verify.ts";
import { onEachDevice } from "./devices.ts";

/** What each element of an axis and those before it combine to. */
function running(
  x: ArrayLike<number>,
  [before, n, after]: readonly [number, number, number],
  reverse: boolean,
  combine: (y: number, x: number) => number,
): Float64Array {
  const out = new Float64Array(x.length);
  for (let p = 0; p < before; p++)
    for (let q = 0; q < after; q++)
      for (let k = 0; k < n; k++) {
        const at = (step: number): number => (p * n + (reverse ? n - 1 - step : step)) * after + q;
        out[at(k)] = k === 0 ? (x[at(0)] as number) : combine(out[at(k - 1)] as number, x[at(k)] as number);
      }
  return out;
}

onEachDevice("long rows are cumulated in blocks, whatever lies around them", async () => {
  const shapes = [
    [1, 5000, 1],
    [3, 2049, 1],
    [1, 2600, 5],
    [2, 2048, 3],
    [9, 700, 1],
    [1, 1, 4],
  ] as const;
  for (const dims of shapes)
    for (const reverse of [false, true]) {
      const x = random.uniform(key(3), [...dims]);
      const values = (await x.data()) as Float32Array;
      const sums = await cumsum(x, 1, { reverse }).data();
      const largest = await cummax(x, 1, { reverse }).data();
      const wanted = running(values, dims, reverse, (a, b) => a + b);
      wanted.forEach((w, i) =>
        assert.ok(Math.abs((sums[i] as number) - w) <= 2e-6 * w, `${dims} ${i}: ${sums[i]} not ${w}`),
      );
      assert.deepEqual(Float64Array.from(largest as Float32Array), running(values, dims, reverse, Math.max));
    }
});

onEachDevice("a running total has the same bits alone, in a batch and mapped", async () => {
  const x = random.normal(key(4), [5, 3000]);
  const together = await cumsum(x, 1).data();
  const mapped = await vmap((row: typeof x) => cumsum(row, 0))(x).data();
  const alone = await cumsum(x.at(3), 0).data();
  assert.deepEqual(mapped, together);
  assert.deepEqual(alone, together.slice(9000, 12000));
});

onEachDevice("argmax takes the first of equals and the first NaN, over everything too", async () => {
  const x = tensor([
    [1, 7, 7],
    [Number.NaN, 9, Number.NaN],
    [-1, -2, -1],
  ]);
  assert.deepEqual([...(await argmax(x, 1).data())], [1, 0, 0]);
  assert.deepEqual([...(await argmax(x, 0, { keepDims: true }).data())], [1, 1, 1]);
  assert.equal(await jit(argmax)(x).item(), 3);
  assert.throws(() => argmax(tensor([]), 0), /no elements/);
});

test("the nests of a cumulative op are legal", () => {
  for (const [n, kind, sources] of [
    [3000, "sum", 1],
    [40, "affine", 2],
    [1, "max", 1],
    [0, "min", 1],
  ] as const) {
    const params = sources === 2 ? `%0 "x": f32[2, ${n}], %1 "a": f32[2, ${n}]` : `%0 "x": f32[2, ${n}]`;
    const args = sources === 2 ? "%0, %1" : "%0";
    const text = `fn @f(${params}) {\n  %2 = cumulate(${args}) {axis: 1, kind: "${kind}", reverse: true} : f32[2, ${n}]\n  return %2\n}\n`;
    verify(lower(parse(text)), "kernel");
  }
});

const ints = (values: readonly number[]): Tensor => tensor(values, { dtype: "i32" });

onEachDevice("an index outside reads NaN and writes nothing, or means one inside", async () => {
  const x = tensor([1, 2, 3]);
  const i = ints([-1, 3, 1]);
  assert.deepEqual([...(await takeAlongAxis(x, i, 0).data())], [Number.NaN, Number.NaN, 2]);
  assert.deepEqual([...(await takeAlongAxis(x, i, 0, { outside: "clip" }).data())], [1, 3, 2]);
  assert.deepEqual([...(await takeAlongAxis(x, i, 0, { outside: "wrap" }).data())], [3, 1, 2]);
  assert.deepEqual([...(await putAlongAxis(x, i, 9, 0).data())], [1, 9, 3]);
  assert.deepEqual([...(await putAlongAxis(x, i, 9, 0, { outside: "clip" }).data())], [9, 9, 9]);
  assert.deepEqual([...(await takeAlongAxis(ints([1, 2, 3]), i, 0).data())], [0, 0, 2]);
  // A pair is outside if either of its indices is, whatever position the two would add up to.
  const square = tensor([
    [1, 2],
    [3, 4],
  ]);
  assert.deepEqual([...(await takeAt(square, [ints([0, 1]), ints([2, -1])]).data())], [Number.NaN, Number.NaN]);
  for (const mode of ["set", "add", "mul", "max", "min"] as const) {
    const gradient = grad((u: Tensor) => putAlongAxis(x, i, u, 0, { mode }).sum())(tensor([5, 6, 7]));
    const values = await gradient.data();
    assert.deepEqual([values[0], values[1]], [0, 0], mode);
    assert.ok(Number.isFinite(values[2]), mode);
  }
});

onEachDevice("indexed access is mapped as a loop would do it", async () => {
  const x = random.normal(key(5), [3, 4, 2]);
  const i = random.bits(key(6), [3, 5]).mod(4).cast("i32");
  const u = random.normal(key(7), [3, 5, 2]);
  const rows = <T>(make: (n: number) => T): T[] => [0, 1, 2].map(make);
  for (const mode of ["set", "add", "mul", "max"] satisfies PutMode[]) {
    const write = (a: Tensor, b: Tensor, c: Tensor): Tensor => putAt(a, [b], c, { mode });
    const looped = stack(rows((n) => write(x.at(n), i.at(n), u.at(n))));
    assert.deepEqual(await vmap(write)(x, i, u).data(), await looped.data(), mode);
    const shared = stack(rows((n) => write(x.at(0), i.at(n), u.at(1))));
    assert.deepEqual(await vmap((b: Tensor) => write(x.at(0), b, u.at(1)))(i).data(), await shared.data(), mode);
  }
  const read = (a: Tensor, b: Tensor): Tensor => takeAt(a, [b]);
  assert.deepEqual(await vmap(read)(x, i).data(), await stack(rows((n) => read(x.at(n), i.at(n)))).data());
});

onEachDevice("every dtype is sorted, stably, in short and in long rows", async () => {
  const dtypes: readonly DType[] = ["bool", "u8", "i8", "u16", "i16", "u32", "i32", "i64", "f16", "bf16", "f32", "f64"];
  for (const dtype of dtypes)
    for (const n of [1, 2, 13, 64, 65, 300]) {
      const drawn = random.normal(key(n), [2, n]).mul(90);
      const x = (dtype.startsWith("u") ? drawn.abs() : drawn).cast(dtype);
      const values = [...(await x.data())].map(Number);
      const order = [...(await argsort(x, 1, { descending: n % 2 === 0 }).data())].map(Number);
      for (const row of [0, 1]) {
        const at = (i: number): number => values[row * n + i] as number;
        const sign = n % 2 === 0 ? -1 : 1;
        const wanted = Array.from({ length: n }, (_, i) => i).sort((i, j) => sign * (at(i) - at(j)));
        assert.deepEqual(order.slice(row * n, (row + 1) * n), wanted, `${dtype}[${n}]`);
      }
    }
});

onEachDevice("many numbers are in order, whatever axis they lie on", async () => {
  const x = random.normal(key(8), [1000, 3]);
  const { values, indices } = sort(x, 0);
  const rows = await vmap((column: Tensor) => sort(column).values, { in: [1], out: 1 })(x).data();
  assert.deepEqual(await values.data(), rows);
  assert.deepEqual(await takeAlongAxis(x, indices, 0).data(), rows);
  for (const largest of [true, false]) {
    const top = topK(x, 5, 0, { largest });
    const order = sort(x, 0, { descending: largest });
    assert.deepEqual(await top.values.data(), await order.values.at(slice(0, 5)).data());
    assert.deepEqual(await top.indices.data(), await order.indices.at(slice(0, 5)).data());
  }
  // Of equals the first ones are taken, and they stay in order.
  assert.deepEqual(await topK(tensor([1, 3, 3, 2, 3]), 2).indices.toArray(), [1, 2]);
  assert.deepEqual(topK(x, 0, 0).values.shape, [0, 3]);
  const long = (await sort(random.bits(key(9), [100_003])).values.data()) as Uint32Array;
  assert.ok(long.every((v, i) => i === 0 || (long[i - 1] as number) <= v));
});

onEachDevice("convolutions and windows are mapped as a loop would do it, and so are their gradients", async () => {
  const x = random.normal(key(11), [2, 1, 4, 9]);
  const w = random.normal(key(12), [2, 6, 2, 3]);
  const options = { stride: 2, padding: 1, groups: 2 };
  const f = (a: Tensor, b: Tensor): Tensor => maxPool(conv(a, b, options), 2, { stride: 1 });
  const g = (a: Tensor, b: Tensor): Tensor =>
    grad(([p, q]: readonly [Tensor, Tensor]) => f(p, q).square().sum())([a, b])[1];
  const close = async (a: Tensor, b: Tensor): Promise<void> => {
    assert.deepEqual(a.shape, b.shape);
    const [p, q] = [await a.data(), await b.data()];
    p.forEach((v, i) =>
      assert.ok(Math.abs(Number(v) - Number(q[i])) < 1e-4 * (1 + Math.abs(Number(v))), `${i}: ${v}, ${q[i]}`),
    );
  };
  for (const h of [f, g]) {
    await close(vmap(h)(x, w), stack([0, 1].map((i) => h(x.at(i), w.at(i)))));
    await close(vmap((a: Tensor) => h(a, w.at(0)))(x), stack([0, 1].map((i) => h(x.at(i), w.at(0)))));
    await close(vmap((b: Tensor) => h(x.at(1), b))(w), stack([0, 1].map((i) => h(x.at(1), w.at(i)))));
  }
});
