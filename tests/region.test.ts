/** Regions: traced once, whoever calls them, and meaning the same as their body written out. */
import assert from "node:assert/strict";
import { grad, jit, region, type Tensor, tensor } from "sinan";
import { onEachDevice } from "./devices.ts";

const x = () => tensor([1, 2, 3]);

onEachDevice("a region takes numbers", async () => {
  const scale = region((t: Tensor, by: number) => t.mul(by).sum());
  const f = jit((t: Tensor, n: number) => scale(t, n).add(scale(t, 2)));
  assert.equal(await f(x(), 10).item(), 72);
  assert.equal(await f(x(), 1).item(), 18);
});

onEachDevice("a region that captures a tensor of a trace is traced anew in another trace", async () => {
  let shift = tensor(0);
  const moved = region((t: Tensor) => t.add(shift));
  const f = (by: number) =>
    jit((t: Tensor, n: number) => {
      shift = t.sum().mul(n);
      return moved(moved(t)).sum();
    })(x(), by);
  assert.equal(await f(1).item(), 42);
  assert.equal(await f(2).item(), 78);
});

onEachDevice("a region in a jit captures the jit's numbers", async () => {
  const f = jit((t: Tensor, n: number) => region((u: Tensor) => u.mul(n).sum())(t));
  assert.equal(await f(x(), 3).item(), 18);
});

onEachDevice("a region's body runs once for each structure", async () => {
  let runs = 0;
  const layer = region((w: Tensor, t: Tensor) => {
    runs++;
    return t.mul(w).tanh();
  });
  const net = (t: Tensor) => layer(tensor([0.5, 1, 2]), layer(tensor([1, 2, 3]), layer(tensor([3, 1, 1]), t))).sum();
  const plain = (t: Tensor) => t.mul(tensor([3, 1, 1])).tanh().mul(tensor([1, 2, 3])).tanh().mul(tensor([0.5, 1, 2])).tanh().sum();
  const [a, b] = [jit((t: Tensor) => grad(net)(t))(x()), grad(plain)(x())];
  assert.equal(runs, 1);
  const [left, right] = [await a.data(), await b.data()];
  left.forEach((v: number | bigint, i: number) => assert.ok(Math.abs(Number(v) - Number(right[i])) < 1e-6));
});
