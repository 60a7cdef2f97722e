import assert from "node:assert/strict";
import { before, test } from "node:test";
import { device, grad, jit, key, matmul, random, type Tensor, tensor, valueAndGrad, zeros } from "../index.ts";
import { compileCount, onCompile } from "../compiler/cache.ts";
import { type Fn, nodesOf } from "../ir/fn.ts";

before(() => device("interpreter"));

type Mlp = { readonly a: Tensor; readonly b: Tensor };

const loss = (m: Mlp, x: Tensor, y: Tensor): Tensor => matmul(matmul(x, m.a).tanh(), m.b).sub(y).square().mean();
const mlp = (): Mlp => {
  const [a, b] = random.split(key(1)) as [Tensor, Tensor];
  return { a: random.normal(a, [3, 5]), b: random.normal(b, [5, 2]) };
};
const data = () => ({ x: random.normal(key(2), [4, 3]), y: random.normal(key(3), [4, 2]) });

const counted = async (body: () => Promise<void>): Promise<Fn[]> => {
  const seen: Fn[] = [];
  const stop = onCompile((fn) => seen.push(fn));
  try {
    await body();
  } finally {
    stop();
  }
  return seen;
};

const descend = (m: Mlp, g: Mlp, rate: number): Mlp => ({ a: m.a.sub(g.a.mul(rate)), b: m.b.sub(g.b.mul(rate)) });

for (const every of [1, 7])
  test(`a loop that changes its rate and reads every ${every} steps compiles nothing after it has settled`, async () => {
    const { x, y } = data();
    let m = mlp();
    let settled = 0;
    const losses: number[] = [];
    for (let i = 0; i < 1000; i++) {
      const [value, g] = valueAndGrad(loss)(m, x, y);
      if (i % every === every - 1) losses.push(await value.item());
      m = descend(m, g, 0.1 / (1 + i));
      if (i === 3 * every) settled = compileCount();
    }
    assert.equal(compileCount(), settled);
    assert.ok((losses.at(-1) as number) < (losses[0] as number), `${losses[0]} → ${losses.at(-1)}`);
  });

test("the un-jitted loop gives the numbers of the jitted one", async () => {
  const { x, y } = data();
  const step = jit((m: Mlp, rate: number) => {
    const [value, g] = valueAndGrad(loss)(m, x, y);
    return { value, m: descend(m, g, rate) };
  });
  let eager = mlp();
  let jitted = mlp();
  for (let i = 0; i < 5; i++) {
    const [value, g] = valueAndGrad(loss)(eager, x, y);
    eager = descend(eager, g, 0.1);
    const out = step(jitted, 0.1);
    jitted = out.m;
    assert.equal(await value.item(), await out.value.item());
  }
});

test("reading the loss and then the gradients runs the forward products once", async () => {
  const { x, y } = data();
  const m = mlp();
  await Promise.all([x, y, m.a, m.b].map((t) => t.data()));
  const [value, g] = valueAndGrad(loss)(m, x, y);
  const first = await counted(async () => void (await value.item()));
  const second = await counted(async () => void (await Promise.all([g.a.data(), g.b.data()])));
  const dots = (fns: readonly Fn[]) => fns.flatMap(nodesOf).filter((n) => n.op === "dot").length;
  assert.equal(dots(first), 2);
  assert.equal(dots(second), 3);
});

test("an element-wise chain that is read each step does not grow", async () => {
  let x = tensor([1, 2, 3]);
  let most = 0;
  const stop = onCompile((fn) => {
    most = Math.max(most, nodesOf(fn).length);
  });
  for (let i = 0; i < 50; i++) {
    x = x.mul(0.9).add(0.1);
    await x.sum().item();
  }
  stop();
  assert.ok(most < 40, `${most} nodes in one flush`);
});

test("a chain of 10 000 operations that nobody reads is computed on the way", async () => {
  let x = tensor([0, 1]);
  for (let i = 0; i < 10_000; i++) x = x.add(1);
  assert.deepEqual(await x.toArray(), [10_000, 10_001]);
});

test("a chain of 10 000 operations is differentiated", async () => {
  const g = grad((x: Tensor) => {
    let y = x;
    for (let i = 0; i < 10_000; i++) y = y.mul(i % 2 ? 2 : 0.5);
    return y.sum();
  })(tensor([1, 2]));
  assert.deepEqual(await g.toArray(), [1, 1]);
});

test("two tensors of zeros made alike have memory of their own", async () => {
  const state = { a: zeros([8]), b: zeros([8]) };
  const step = jit((s: typeof state) => ({ a: s.a.add(1), b: s.b.add(2) }), { donate: [0] });
  const next = step(state);
  assert.deepEqual(
    await next.a.toArray(),
    Array.from({ length: 8 }, () => 1),
  );
  assert.deepEqual(
    await next.b.toArray(),
    Array.from({ length: 8 }, () => 2),
  );
});

test("what a derivative makes and nobody asked for keeps no value of the forward pass", async () => {
  const x = random.normal(key(4), [8]);
  await x.data();
  const scaled = (v: Tensor): Tensor => {
    let y = v;
    // The rule of mul also makes the cotangent of the constant, of y.
    for (let i = 0; i < 6; i++) y = y.mul(tensor(0.5)).tanh();
    return y.sum();
  };
  const [fn] = await counted(async () => void (await grad(scaled)(x).data()));
  // The gradient, and the last tanh, of which the loss may still be asked for.
  assert.equal(fn?.results.length, 2);
});
