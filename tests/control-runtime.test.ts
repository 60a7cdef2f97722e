/** How loops run: compiled once, in memory that does not grow, behind the caller's back, on threads; and how they fail. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  cond,
  device,
  footprint,
  grad,
  jit,
  jvp,
  key,
  matmul,
  memory,
  ones,
  OutOfMemoryError,
  random,
  scan,
  type Tensor,
  tensor,
  valueAndGrad,
  whileLoop,
  zeros,
} from "sinan";
import { compile } from "../core/src/compiler/compile.ts";
import { parse } from "../core/src/ir/parse.ts";
import { print } from "../core/src/ir/print.ts";
import { verify } from "../core/src/ir/verify.ts";
import { openStream } from "../core/src/runtime/devices.ts";
import { trace } from "../core/src/tensor/trace.ts";
import { deviceNames } from "./devices.ts";

/** A small recurrent network: a product, a carry read twice. */
interface Cell {
  readonly w: Tensor;
  readonly b: Tensor;
}
const advance = ({ w, b }: Cell, h: Tensor, x: Tensor): Tensor => matmul(h, w).add(x).add(b).tanh();

test("a long scan's body is compiled once, and its plan does not grow with the steps", async () => {
  const { hardware } = await openStream("cpu").then((s) => ({ hardware: s.device.hardware }));
  const planOf = (length: number) => {
    const { fn } = trace("long", [{ dtype: "f32", dims: [8] }], ([x]) =>
      scan((c: Tensor, _: null) => [c.sin().add(1), c.sum()], x as Tensor, null, { length }),
    );
    verify(fn, "tensor");
    assert.equal(print(parse(print(fn))), print(fn));
    return compile(fn, hardware);
  };
  const [short, long] = [planOf(10), planOf(100_000)];
  assert.equal(short.artifacts.length, long.artifacts.length);
  assert.equal(short.steps.length, long.steps.length);
  assert.deepEqual(short.blocks, long.blocks);
});

for (const name of deviceNames)
  test(`the jvp of a scan of 10 000 steps needs constant memory, its gradient what it must (${name})`, async () => {
    const size = 64;
    const peakOf = async (run: () => Tensor): Promise<number> => {
      await device(name, { options: {} });
      const before = tensor(new Float32Array(size));
      await before.data();
      const y = run();
      assert.ok(Number.isFinite(await y.sum().item()));
      return memory().peak;
    };
    const long = (length: number) => (v: Tensor) =>
      scan((c: Tensor, _: null) => [c.sin().mul(1.01), null], v, null, { length })[0];
    const push = (length: number) => () =>
      jit((v: Tensor) => jvp(long(length), [v], [v])[1])(tensor(new Float32Array(size).fill(0.5)));
    const pull = (length: number) => () =>
      jit(grad((v: Tensor) => long(length)(v).sum()))(tensor(new Float32Array(size).fill(0.5)));
    const [few, many] = [await peakOf(push(10)), await peakOf(push(10_000))];
    assert.ok(many <= few, `${few} bytes become ${many}`);
    const kept = await peakOf(pull(1000));
    assert.ok(kept >= 1000 * size * 4 && kept <= 1.2 * 1000 * size * 4 + few, `${kept} bytes`);
  });

test("results of a scan lie over its initial values where nothing is in the way, and mean the same", async () => {
  const [n, w] = [48, (t: Tensor) => matmul(t, t.mul(0.01))];
  type Loop = (x: Tensor, length: number) => readonly Tensor[];
  const bodies: Readonly<Record<string, Loop>> = {
    product: (x, length) => [scan((c: Tensor, _: null) => [w(c), null], x.mul(2), null, { length })[0]],
    inPlace: (x, length) => [scan((c: Tensor, _: null) => [c.sin(), null], x.mul(2), null, { length })[0]],
    swapped: (x, length) =>
      scan(
        ([a, b]: readonly Tensor[]) => [[b as Tensor, w(a as Tensor)], null],
        [x.mul(2), x.add(1)] as readonly Tensor[],
        null,
        {
          length,
        },
      )[0],
    both: (x, length) =>
      scan(
        ([a, b]: readonly Tensor[]) => [[(b as Tensor).add(1), (a as Tensor).sin()], null],
        [x.mul(2), x.add(1)],
        null,
        {
          length,
        },
      )[0],
    stacked: (x, length) => {
      const rows = x.reshape([length, (n * n) / length]);
      return scan((c: Tensor, r: Tensor) => [w(c), r.mul(2).add(r.sum())], x.mul(2), rows);
    },
    twice: (x, length) => {
      const first = matmul(x, x);
      return [scan((c: Tensor, _: null) => [w(c).add(first), null], first, null, { length })[0]];
    },
  };
  const given = Float32Array.from({ length: n * n }, (_, i) => Math.sin(i) * 0.5);
  for (const [name, loop] of Object.entries(bodies))
    for (const length of name === "stacked" ? [1, 2, 4] : [0, 1, 2, 3, 4]) {
      const values: (readonly number[])[] = [];
      for (const on of ["interpreter", "cpu"]) {
        await device(on, { options: {} });
        // What a loop gives is not the program's result, which has memory of its own.
        const run = jit((x: Tensor) => loop(x, length).map((t) => t.square()));
        const made = run(tensor(given, { shape: [n, n] }));
        const read = await Promise.all(made.map((t) => t.data()));
        values.push(read.flatMap((d) => Array.from(d, Number)));
      }
      const [expected, got] = values as [number[], number[]];
      expected.forEach((v, i) =>
        assert.ok(Math.abs(v - (got[i] as number)) <= 1e-4 * (1 + Math.abs(v)), `${name}, ${length} steps, ${i}`),
      );
    }
  // Even: the initial value's place is that of the result, whose second place is the step's. Odd: a place more.
  const peak = async (length: number): Promise<number> => {
    const step = jit((x: Tensor) => (bodies["product"] as Loop)(x, length)[0]?.square());
    return (await footprint(step, tensor(given, { shape: [n, n] }))).peakBytes;
  };
  assert.ok((await peak(5)) - (await peak(4)) > 0.8 * n * n * 4);
});

test("a call with a loop of unknown length returns at once, and later calls wait their turn", async () => {
  for (const name of deviceNames) {
    await device(name);
    const steps = { sim: 100, interpreter: 4000, cpu: 20_000 }[name];
    const slow = jit((x: Tensor) =>
      whileLoop(
        (c: Tensor) => c.less(steps),
        (c: Tensor) => c.add(1),
        x,
      ),
    );
    await slow(tensor(steps - 1)).item();
    const begin = performance.now();
    const y = slow(tensor(0));
    const z = jit((a: Tensor, b: Tensor) => a.add(b))(y, y);
    const called = performance.now() - begin;
    y.dispose();
    let turns = 0;
    const ticking = setInterval(() => turns++, 1);
    assert.equal(await z.item(), 2 * steps);
    clearInterval(ticking);
    const done = performance.now() - begin;
    assert.ok(called < done / 4, `${name}: the call took ${called} of ${done} ms`);
    assert.ok(turns >= 2, `${name}: others had ${turns} turns in ${done} ms`);
  }
});

test("on two threads the bits are the same", async () => {
  const run = async (options: { threads: number; grain?: number }): Promise<unknown[]> => {
    await device("cpu", { options });
    const p = { w: random.normal(key(1), [64, 64]).mul(0.1), b: random.normal(key(2), [64]) };
    const xs = random.normal(key(3), [50, 16, 64]);
    const g = jit((q: Cell, x: Tensor) =>
      grad((r: Cell) => scan((c: Tensor, row: Tensor) => [advance(r, c, row), c.mean()], zeros([16, 64]), x)[0].sum())(
        q,
      ),
    )(p, xs);
    const y = whileLoop(
      (c: Tensor) => c.sum().less(1e4),
      (c: Tensor) => c.mul(1.5),
      g.w.abs(),
    );
    return Promise.all([g.w.toArray(), g.b.toArray(), y.toArray()]);
  };
  assert.deepEqual(await run({ threads: 2, grain: 1 }), await run({ threads: 1 }));
});

test("a choice waits for the workers that compute what it is made by", async () => {
  await device("cpu", { options: { threads: 2, grain: 1 } });
  const choose = jit((p: Tensor, x: Tensor) =>
    cond(
      p,
      (v: Tensor) => v.sum(),
      (v: Tensor) => v.sum().neg(),
      x,
    ),
  );
  const isLess = jit((x: Tensor) => matmul(x, x).mean().less(1));
  for (let i = 0; i < 40; i++) {
    const x = ones([64, 64]).mul(i % 2 === 0 ? 1 / 64 : 1);
    assert.equal(await choose(isLess(x), ones([3])).item(), i % 2 === 0 ? 3 : -3, `choice ${i}`);
  }
});

test("a failure behind a loop is thrown at the reads of its results", async () => {
  await device("sim", { options: { failLaunch: 40 } });
  const y = whileLoop(
    (c: Tensor) => c.less(1000),
    (c: Tensor) => c.add(1),
    tensor(0),
  );
  const z = y.add(1);
  await assert.rejects(async () => z.data(), /failed, as sim was told/);
  await assert.rejects(async () => y.data(), /failed, as sim was told/);
  await device("cpu", { options: {}, budget: 2 ** 20 });
  const large = jit((x: Tensor) => scan((c: Tensor, _: null) => [c.add(1), c], x, null, { length: 1000 })[1]);
  await assert.rejects(async () => large(zeros([1000])).data(), OutOfMemoryError);
});

test("a value and its gradient run a loop once forwards: the saving scan serves for both", async () => {
  const { hardware } = (await openStream("cpu")).device;
  const { fn } = trace("both", [{ dtype: "f32", dims: [8] }], ([x]) => {
    const [value, slope] = valueAndGrad((v: Tensor) =>
      scan(
        (c: Tensor, _: null) => [c.sin(), null],
        cond(
          v.sum().less(0),
          (u: Tensor) => u.neg(),
          (u: Tensor) => u.sin(),
          v,
        ),
        null,
        {
          length: 9,
        },
      )[0].sum(),
    )(x as Tensor);
    return [value, slope];
  });
  const names = compile(fn, hardware).steps.flatMap((s) => ("conduct" in s ? [s.name] : []));
  assert.deepEqual(names, ["cond", "scan of 9 steps", "scan of 9 steps", "cond"]);
});
