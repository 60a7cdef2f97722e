/** Long sides of selections: a number's sine does not depend on its neighbours', wherever a branch was taken for them. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { device, jit, logSumExp, type Tensor, tensor, where } from "sinan";

before(() => device("cpu", { options: { threads: 1 } }));

const bitsOf = async (t: Tensor): Promise<number[]> => [...new Uint32Array((await t.bytes()).buffer)];

/** Small, large, and what is neither. */
const [small, large] = [
  [0.3, -1.5, 500, -0],
  [1e6, -3e38, 513, Number.POSITIVE_INFINITY],
];

test("the sine of a number has one value beside small and beside large ones", async () => {
  const alone = async (xs: readonly number[]): Promise<number[]> => bitsOf(jit((x: Tensor) => x.sin())(tensor(xs)));
  const [s, l] = [await alone(small), await alone(large)];
  const rows = Array.from({ length: 16 }, (_, mask) => [0, 1, 2, 3].map((i) => (mask >> i) & 1));
  const xs = rows.flatMap((row) => row.map((isLarge, i) => (isLarge ? large : small)[i] as number));
  const expected = rows.flatMap((row) => row.map((isLarge, i) => (isLarge ? l : s)[i] as number));
  assert.deepEqual(await bitsOf(tensor(xs).sin()), expected);
  // With a rest of one that is no vector, and in a loop that goes along rows to turn them.
  assert.deepEqual(await bitsOf(tensor([...xs, large[1] as number]).sin()), [...expected, l[1]]);
  const turned = tensor(xs).reshape([8, 8]);
  assert.deepEqual(
    await bitsOf(jit((x: Tensor) => x.transpose().sin())(turned)),
    await bitsOf(turned.sin().transpose()),
  );
});

test("sides inside of sides, and of both operands, are those of each by itself", async () => {
  const f = (x: Tensor): Tensor => x.sin().cos().sin();
  const g = (x: Tensor): Tensor => x.mul(7).cos().sin().cos();
  const xs = tensor(Float32Array.from({ length: 203 }, (_, i) => (i % 7 === 0 ? 1e5 : 1) * Math.sin(i * i)));
  const isFew = tensor(Int32Array.from({ length: 203 }, (_, i) => (i * i) % 5)).equal(4);
  const both = jit((x: Tensor, c: Tensor) => where(c, f(x), g(x)));
  const [a, b, c] = [await bitsOf(f(xs)), await bitsOf(g(xs)), await isFew.data()];
  assert.deepEqual(
    await bitsOf(both(xs, isFew)),
    a.map((v, i) => (c[i] ? v : b[i])),
  );
});

test("a sum over sines of large numbers is the sum of them", async () => {
  const xs = tensor(Float32Array.from({ length: 96 }, (_, i) => (i % 5 === 0 ? 1e7 : 1) * (i + 1))).reshape([6, 16]);
  const sines = xs.sin();
  await sines.data();
  for (const f of [(x: Tensor) => x.sum(1), (x: Tensor) => x.sum(0), (x: Tensor) => logSumExp(x, 1)])
    assert.deepEqual(await bitsOf(jit((x: Tensor) => f(x.sin()))(xs)), await bitsOf(f(sines)));
});
