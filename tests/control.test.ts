/** Loops and choices on the device: against the same written out in JavaScript, under every transform and in each other. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ArgumentError,
  cond,
  device,
  DTypeError,
  grad,
  jit,
  jvp,
  key,
  matmul,
  random,
  remat,
  scan,
  ShapeError,
  stack,
  type Tensor,
  tensor,
  TraceError,
  TreeError,
  vmap,
  whileLoop,
  zeros,
} from "sinan";
import { onEachDevice } from "./devices.ts";

const near = async (actual: Tensor, expected: Tensor | number, within = 2e-5): Promise<void> => {
  const a = await actual.data();
  const e = typeof expected === "number" ? [expected] : await expected.data();
  assert.equal(a.length, e.length);
  a.forEach((v: number | bigint, i: number) => {
    const [got, want] = [Number(v), Number(e[i])];
    assert.ok(Math.abs(got - want) <= within * (1 + Math.abs(want)), `${got} is not ${want} at ${i}`);
  });
};

/** A small recurrent network: a product, a carry read twice, a stacked result. */
interface Cell {
  readonly w: Tensor;
  readonly b: Tensor;
}
const cell = (): Cell => ({ w: random.normal(key(1), [4, 4]).mul(0.5), b: random.normal(key(2), [4]) });
const advance = ({ w, b }: Cell, h: Tensor, x: Tensor): Tensor => matmul(h, w).add(x).add(b).tanh();
const sequence = () => random.normal(key(3), [5, 4]);

const scanned = (p: Cell, h: Tensor, xs: Tensor): Tensor => {
  const [last, all] = scan(
    (c: Tensor, x: Tensor) => {
      const next = advance(p, c, x);
      return [next, next.square().sum()];
    },
    h,
    xs,
  );
  return last.sum().add(all.sum());
};
const unrolled = (p: Cell, h: Tensor, xs: Tensor): Tensor => {
  let c = h;
  let sum = tensor(0);
  for (let i = 0; i < (xs.shape[0] as number); i++) {
    c = advance(p, c, xs.at(i));
    sum = sum.add(c.square().sum());
  }
  return sum.add(c.sum());
};

onEachDevice(
  "a scan is its loop: values, gradients of all inputs, second derivatives, tangents, jitted or not",
  async () => {
    const [p, h, xs] = [cell(), random.normal(key(4), [4]), sequence()];
    const all = { p, h, xs };
    const of = (f: typeof scanned) => (a: typeof all) => f(a.p, a.h, a.xs);
    await near(scanned(p, h, xs), unrolled(p, h, xs));
    const expected = grad(of(unrolled))(all);
    for (const g of [grad(of(scanned))(all), jit(grad(of(scanned)))(all)]) {
      await near(g.p.w, expected.p.w);
      await near(g.p.b, expected.p.b);
      await near(g.h, expected.h);
      await near(g.xs, expected.xs);
    }
    const slope = (f: typeof scanned) => (x: Tensor) =>
      grad((y: Tensor) => f(p, y, xs))(x)
        .square()
        .sum();
    await near(jit(grad(slope(scanned)))(h), grad(slope(unrolled))(h), 1e-4);
    const push = (f: typeof scanned) => (x: Tensor, dx: Tensor) => jvp((y: Tensor) => f(p, y, xs), [x], [dx]);
    const dx = random.normal(key(5), [4]);
    for (const run of [push(scanned), jit(push(scanned))]) {
      const [y, dy] = run(h, dx);
      await near(y, unrolled(p, h, xs));
      await near(dy, push(unrolled)(h, dx)[1]);
    }
    // Forward over reverse.
    const hvp = (f: typeof scanned) =>
      jvp(
        grad((y: Tensor) => f(p, y, xs)),
        [h],
        [dx],
      )[1];
    await near(hvp(scanned), hvp(unrolled), 1e-4);
  },
);

onEachDevice("a scan goes either way, stacks where its rows are, carries trees, and needs no rows", async () => {
  const xs = tensor([1, 2, 3, 4]);
  const running = (c: Tensor, x: Tensor) => [c.add(x), c] as const;
  const [last, before] = scan(running, tensor(0), xs);
  assert.deepEqual([await last.item(), await before.toArray()], [10, [0, 1, 3, 6]]);
  assert.deepEqual(await scan(running, tensor(0), xs, { reverse: true })[1].toArray(), [9, 7, 4, 0]);
  // The carry changes places: nothing may be written over before it is read.
  const fibonacci = jit((n: Tensor) =>
    scan(({ a, b }: { a: Tensor; b: Tensor }, _: null) => [{ a: b, b: a.add(b) }, { a }], { a: n, b: n.add(1) }, null, {
      length: 7,
    }),
  );
  const [{ a, b }, { a: all }] = fibonacci(tensor(0));
  assert.deepEqual([await a.item(), await b.item(), await all.toArray()], [13, 21, [0, 1, 1, 2, 3, 5, 8]]);
  const [same, none] = scan((c: Tensor, x: Tensor) => [c.add(x), x], tensor([7]), zeros([0, 1]));
  assert.deepEqual([await same.toArray(), none.shape], [[7], [0, 1]]);
  const [count, bits] = scan((c: Tensor, x: Tensor) => [c.add(1), x.greater(1)], tensor(Int32Array.of(0)), xs);
  assert.deepEqual([await count.toArray(), await bits.toArray()], [[4], [false, true, true, true]]);
});

onEachDevice("vmap of a scan is a loop over the examples, whatever is mapped", async () => {
  const [p, xs] = [cell(), sequence()];
  const hs = random.normal(key(6), [3, 4]);
  const each = (f: (i: number) => Tensor) => stack([0, 1, 2].map(f));
  await near(
    vmap((h: Tensor) => scanned(p, h, xs))(hs),
    each((i) => unrolled(p, hs.at(i), xs)),
  );
  const many = random.normal(key(7), [3, 5, 4]);
  const [h] = [hs.at(0)];
  await near(
    jit((m: Tensor) => vmap((x: Tensor) => scanned(p, h, x))(m))(many),
    each((i) => unrolled(p, h, many.at(i))),
  );
  const slopes = vmap((x: Tensor) => grad((w: Tensor) => scanned({ ...p, w }, h, x))(p.w))(many);
  await near(
    slopes,
    each((i) => grad((w: Tensor) => unrolled({ ...p, w }, h, many.at(i)))(p.w)),
  );
  await near(
    grad((w: Tensor) => vmap((x: Tensor) => scanned({ ...p, w }, h, x))(many).sum())(p.w),
    grad((w: Tensor) => each((i) => unrolled({ ...p, w }, h, many.at(i))).sum())(p.w),
  );
});

onEachDevice("only the chosen branch of a cond counts, in values and derivatives", async () => {
  const x = tensor([0.25, 0.5]);
  const f = (v: Tensor) =>
    cond(
      v.sum().less(1),
      (u: Tensor) => u.mul(u).sum(),
      (u: Tensor) => u.log().sum().add(u.exp().sum()),
      v,
    );
  const written = (v: Tensor, small: boolean) => (small ? v.mul(v).sum() : v.log().sum().add(v.exp().sum()));
  for (const v of [x, x.mul(4)]) {
    const small = v === x;
    for (const run of [f, jit(f)]) await near(run(v), written(v, small));
    for (const run of [grad(f), jit(grad(f))]) await near(run(v), grad((u: Tensor) => written(u, small))(v));
    await near(jvp(f, [v], [x])[1], jvp((u: Tensor) => written(u, small), [v], [x])[1]);
    const twice = (h: (u: Tensor) => Tensor) => grad((u: Tensor) => grad(h)(u).square().sum())(v);
    await near(
      twice(f),
      twice((u) => written(u, small)),
    );
  }
  assert.equal(
    await cond(
      true,
      (v: Tensor) => v.sum(),
      (v: Tensor) => v.sum().neg(),
      x,
    ).item(),
    0.75,
  );
  const choose = (v: Tensor) =>
    cond(
      v.less(2),
      (u: Tensor) => u.mul(10),
      (u: Tensor) => u.neg(),
      v,
    );
  assert.deepEqual(await vmap(choose)(tensor([1, 2, 3])).toArray(), [10, -2, -3]);
  assert.deepEqual(await grad((v: Tensor) => vmap(choose)(v).sum())(tensor([1, 2, 3])).toArray(), [10, -1, -1]);
  const shared = vmap(
    (v: Tensor, p: Tensor) =>
      cond(
        p,
        (u: Tensor) => u.mul(2),
        (u: Tensor) => u.mul(3),
        v,
      ),
    {
      in: [0, null],
    },
  );
  assert.deepEqual(await shared(tensor([1, 2]), tensor(false)).toArray(), [3, 6]);
});

onEachDevice("a while runs as often as its values say: lazily, jitted, mapped, pushed forward", async () => {
  const double = (v: Tensor) =>
    whileLoop(
      (c: Tensor) => c.less(100),
      (c: Tensor) => c.mul(2),
      v,
    );
  for (const run of [double, jit(double)])
    for (const [from, to] of [
      [3, 192],
      [150, 150],
      [60, 120],
    ] as const)
      assert.equal(await run(tensor(from)).item(), to);
  assert.deepEqual(await vmap(double)(tensor([1, 3, 50, 200])).toArray(), [128, 192, 100, 200]);
  const square = (v: Tensor) =>
    whileLoop(
      (c: Tensor) => c.less(100),
      (c: Tensor) => c.mul(c),
      v,
    );
  assert.equal(await jvp(square, [tensor(2)], [tensor(1)])[1].item(), 8 * 2 ** 7);
  assert.throws(() => grad(square)(tensor(2)), TraceError);
  const by = tensor(3);
  const counted = jit((limit: Tensor) =>
    whileLoop(
      (c: { n: Tensor; x: Tensor }) => c.n.less(limit),
      ({ n, x }) => ({ n: n.add(1), x: x.mul(by) }),
      { n: tensor(Int32Array.of(0)).at(0), x: tensor([1, 2]) },
    ),
  );
  assert.deepEqual(await counted(tensor(4)).x.toArray(), [81, 162]);
  assert.deepEqual(await vmap((v: Tensor) => counted(v).x)(tensor([1, 0])).toArray(), [
    [3, 6],
    [1, 2],
  ]);
});

/** Newton's method for a root of c³ = v, started by a choice, in each step of a scan. */
const nested = (v: Tensor): Tensor =>
  scan(
    (c: Tensor, x: Tensor) => {
      const root = whileLoop(
        (r: Tensor) => r.mul(r).mul(r).sub(x).abs().greater(1e-4),
        (r: Tensor) => r.sub(r.mul(r).mul(r).sub(x).div(r.mul(r).mul(3))),
        cond(
          x.less(1),
          (y: Tensor) => y,
          (y: Tensor) => y.div(2),
          x,
        ),
      );
      return [c.add(root), root];
    },
    tensor(0),
    v,
  )[0];

onEachDevice("they nest in each other and in transforms", async () => {
  const v = tensor([8, 27, 0.125]);
  await near(nested(v), 5.5, 1e-4);
  await near(jit(nested)(v), 5.5, 1e-4);
  const slope = jit((u: Tensor) => jvp(nested, [u], [tensor([1, 0, 0])])[1])(v);
  await near(slope, 1 / 12, 1e-3);
  await near(vmap(nested)(stack([v, v.mul(8)])), tensor([5.5, 11]), 1e-4);
  // A scan of scans of a body that keeps nothing, and a loop around scans.
  const inner = remat((c: Tensor, x: Tensor) => c.mul(x).sin());
  const outer = (w: Tensor): Tensor =>
    scan(
      (c: Tensor, x: Tensor) => {
        const next = scan((d: Tensor, _: null) => [inner(d, x.mul(w)), d], c, null, { length: 3 })[0];
        return [
          next,
          cond(
            next.less(0),
            (n: Tensor) => n.neg(),
            (n: Tensor) => n.mul(n),
            next,
          ),
        ];
      },
      tensor(0.7),
      tensor([1, -2, 3]),
    )[1].sum();
  const plain = (w: Tensor): Tensor => {
    let c: Tensor = tensor(0.7);
    let sum: Tensor = tensor(0);
    for (const [x, negative] of [
      [1, false],
      [-2, true],
      [3, true],
    ] as const) {
      for (let i = 0; i < 3; i++) c = c.mul(w.mul(x)).sin();
      sum = sum.add(negative ? c.neg() : c.mul(c));
    }
    return sum;
  };
  const w = tensor(0.9);
  await near(outer(w), plain(w));
  await near(jit(grad(outer))(w), grad(plain)(w));
  await near(jit(grad(grad(outer)))(w), grad(grad(plain))(w), 1e-4);
  const halved = whileLoop(
    (c: Tensor) => c.sum().greater(1),
    (c: Tensor) => scan((d: Tensor, x: Tensor) => [d.mul(x), d], c, tensor([0.5, 1]))[0],
    tensor([8, 8]),
  );
  assert.deepEqual(await halved.toArray(), [0.5, 0.5]);
});

test("what does not fit is refused with a way out", async () => {
  await device("interpreter");
  const x = tensor([1, 2, 3]);
  assert.throws(() => scan((c: Tensor, v: Tensor) => [c.add(v).reshape([1]), c], tensor(0), x), ShapeError);
  assert.throws(() => scan((c: unknown, v: Tensor) => [[c, v], v], tensor(0) as unknown, x), TreeError);
  assert.throws(() => scan((c: Tensor, v: Tensor) => [c.add(v), c], tensor(0), x, { length: 4 }), ShapeError);
  assert.throws(() => scan((c: Tensor, _: null) => [c, c], tensor(0), null), ArgumentError);
  assert.throws(() => scan((c: number, v: Tensor) => [c, v], 0, x), /write tensor\(0\)/);
  assert.throws(
    () =>
      cond(
        x,
        (v: Tensor) => v,
        (v: Tensor) => v,
        x,
      ),
    DTypeError,
  );
  assert.throws(
    () =>
      cond(
        true,
        (v: Tensor) => v.sum(),
        (v: Tensor) => v,
        x,
      ),
    TreeError,
  );
  assert.throws(
    () =>
      whileLoop(
        (c: Tensor) => c.sum(),
        (c: Tensor) => c,
        x,
      ),
    DTypeError,
  );
  assert.throws(
    () =>
      whileLoop(
        (c: Tensor) => c.sum().less(1),
        (c: Tensor) => c.sum(),
        x,
      ),
    ShapeError,
  );
  const outer = tensor(0);
  assert.throws(
    () =>
      scan(
        (c: Tensor, v: Tensor) => {
          outer.assign(v);
          return [c, v];
        },
        tensor(0),
        x,
      ),
    TraceError,
  );
});
