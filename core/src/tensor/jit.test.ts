/** The contract of `jit`: what is traced again and what is not, what is read when, what donation takes. */
import assert from "node:assert/strict";
import { before, mock, test } from "node:test";
import {
  add,
  ArgumentError,
  device,
  DisposedError,
  full,
  grad,
  jit,
  key,
  memory,
  mul,
  random,
  region,
  ShapeError,
  Tensor,
  tensor,
  TraceError,
  zeros,
} from "../index.ts";
import { compileCount } from "../compiler/cache.ts";

before(() => device("interpreter"));

/** A jitted function and how often it was traced. */
function counted<A extends readonly unknown[], Y>(f: (...args: A) => Y, options: Parameters<typeof jit<A, Y>>[1] = {}) {
  const count = { traces: 0 };
  const run = jit((...args: A) => {
    count.traces++;
    return f(...args);
  }, options);
  return { run, count };
}

const f64 = (v: number | number[]) => tensor(v, { dtype: "f64" });

test("numbers change without a retrace, in any place of a tree", async () => {
  const { run, count } = counted((x: Tensor, o: { rate: number; more: readonly number[] }) =>
    x.mul(o.rate).add(o.more[1] as number),
  );
  for (const rate of [1, 0.5, -3, Number.NaN, Infinity, 0])
    assert.deepEqual(await run(tensor([2]), { rate, more: [9, 1] }).toArray(), [2 * rate + 1]);
  assert.equal(count.traces, 1);
});

test("a number takes the dtype of what it meets, with all its digits", async () => {
  const { run } = counted((x: Tensor, n: number) => x.mul(n));
  assert.deepEqual(await run(f64([1]), 0.1).toArray(), [0.1]);
  assert.equal(run(f64([1]), 0.1).dtype, "f64");
  assert.deepEqual(await run(tensor([1]), 0.1).toArray(), [Math.fround(0.1)]);
  // Beside integers it is f32, since whether it has a fraction is not known.
  assert.equal(run(tensor([2], { dtype: "i32" }), 3).dtype, "f32");
  assert.deepEqual(await run(tensor([2], { dtype: "i32" }), 3.5).toArray(), [7]);
  // Two numbers among themselves, then beside a tensor.
  const sum = jit((x: Tensor, a: number, b: number) => x.add(add(a, b)));
  assert.deepEqual(await sum(tensor([1]), 2, 3).toArray(), [6]);
});

test("a number may be the result", async () => {
  const run = jit((n: number) => ({ n, twice: mul(n, 2) }));
  const { n, twice } = run(3) as unknown as { n: Tensor; twice: Tensor };
  assert.equal(await n.item(), 3);
  assert.equal(await twice.item(), 6);
});

test("statics are told apart by identity", async () => {
  const square = (x: Tensor) => x.mul(x);
  const cube = (x: Tensor) => x.mul(x).mul(x);
  const { run, count } = counted((x: Tensor, f: (v: Tensor) => Tensor, n: number) => f(x).add(n), { static: [1, 2] });
  const x = tensor([2]);
  assert.deepEqual(await run(x, square, 0).toArray(), [4]);
  assert.deepEqual(await run(x, cube, 0).toArray(), [8]);
  assert.deepEqual(await run(x, square, 0).toArray(), [4]);
  assert.equal(count.traces, 2);
  const warn = mock.method(console, "warn", () => {});
  const special = [Number.NaN, Infinity, -Infinity, 0, -0, 1];
  for (const n of special) assert.deepEqual(await run(x, square, n).toArray(), [4 + n]);
  assert.equal(count.traces, 7);
  warn.mock.restore();
});

test("functions and texts that are not declared static are still told apart", async () => {
  const { run, count } = counted((x: Tensor, o: { mode: string; f: (v: Tensor) => Tensor }) =>
    o.mode === "neg" ? o.f(x).neg() : o.f(x),
  );
  const twice = (v: Tensor) => v.mul(2);
  assert.deepEqual(await run(tensor([1]), { mode: "neg", f: twice }).toArray(), [-2]);
  assert.deepEqual(await run(tensor([1]), { mode: "pos", f: twice }).toArray(), [2]);
  assert.deepEqual(await run(tensor([1]), { mode: "neg", f: twice }).toArray(), [-2]);
  assert.equal(count.traces, 2);
});

test("the order in which keys are written does not matter", async () => {
  const { run, count } = counted((p: { w: Tensor; b: Tensor }) => p.w.sub(p.b));
  const [w, b] = [tensor([5]), tensor([3])];
  assert.deepEqual(await run({ w, b }).toArray(), [2]);
  assert.deepEqual(await run({ b, w }).toArray(), [2]);
  assert.equal(count.traces, 1);
});

test("trees of different structure with the same leaves are different", async () => {
  const { run, count } = counted((t: unknown) => (Array.isArray(t) ? tensor([1]) : tensor([2])));
  const x = tensor([0]);
  assert.deepEqual(await run([x]).toArray(), [1]);
  assert.deepEqual(await run({ 0: x }).toArray(), [2]);
  assert.deepEqual(await run(x).toArray(), [2]);
  assert.equal(count.traces, 3);
});

test("captured tensors are read when the function is called", async () => {
  const w = tensor([2]);
  const { run, count } = counted((x: Tensor) => x.mul(w));
  const x = tensor([10]);
  assert.deepEqual(await run(x).toArray(), [20]);
  w.assign(tensor([3]));
  assert.deepEqual(await run(x).toArray(), [30]);
  w.assign(w.add(1));
  assert.deepEqual(await run(x).toArray(), [40]);
  assert.equal(count.traces, 1);
});

test("assign in a jitted function is done when it is called", async () => {
  const total = tensor([0]);
  const { run, count } = counted((x: Tensor) => {
    total.assign(total.add(x));
    return total.mul(100);
  });
  assert.deepEqual(await run(tensor([1])).toArray(), [100]);
  assert.deepEqual(await total.toArray(), [1]);
  run(tensor([2]));
  run(tensor([3]));
  assert.deepEqual(await total.toArray(), [6]);
  assert.equal(count.traces, 1);
  const old = total.mul(1);
  run(tensor([1]));
  assert.deepEqual(await old.toArray(), [6]);
  assert.throws(() => jit((x: Tensor) => total.assign(x))(tensor([1, 2])), ShapeError);
});

interface State {
  readonly w: Tensor;
  readonly m: Tensor;
}
interface Batch {
  readonly state: State;
  readonly x: Tensor;
}

const big = 1 << 14;
const fresh = (): State => ({ w: zeros([big]), m: zeros([big]) });
const update = ({ state, x }: Batch) => ({ state: { w: state.w.add(x), m: state.m.add(1) }, loss: state.w.sum() });

test("donation by key: the old state is gone, its memory is the new state's", async () => {
  const step = jit(update, { donate: ["state"] });
  const x = tensor(1);
  let out = step({ state: fresh(), x });
  await out.loss.item();
  const { live } = memory();
  const first = out.state;
  for (let i = 0; i < 20; i++) {
    out = step({ state: out.state, x });
    assert.equal(memory().live <= live + 20 * 64, true, `${memory().live} bytes are live, not ${live}`);
  }
  assert.equal(await out.state.w.at(0).item(), 21);
  await assert.rejects(first.w.data(), DisposedError);
  assert.throws(() => step({ state: first, x }), DisposedError);
  assert.equal(await x.item(), 1);
});

test("donation by position", async () => {
  const step = jit((w: Tensor, g: Tensor) => w.sub(g), { donate: [0] });
  const [w, g] = [zeros([big]), tensor(1)];
  const next = step(w, g);
  await assert.rejects(w.data(), /donated/);
  assert.equal(await next.at(7).item(), -1);
  assert.equal(await g.item(), 1);
});

test("what is donated twice, or also given otherwise, is refused before anything happens", async () => {
  const both = jit((a: Tensor, b: Tensor) => a.add(b), { donate: [0] });
  const w = tensor([1]);
  assert.throws(() => both(w, w), ArgumentError);
  const pair = jit((s: { a: Tensor; b: Tensor }) => s.a.add(s.b), { donate: ["a", "b"] });
  assert.throws(() => pair({ a: w, b: w }), ArgumentError);
  const capturing = jit((a: Tensor) => a.add(w), { donate: [0] });
  assert.throws(() => capturing(w), ArgumentError);
  assert.deepEqual(await w.toArray(), [1]);
  const keyed = jit((_a: Tensor, _b: Tensor) => zeros([1]), { donate: ["state"] as unknown as [0] });
  assert.throws(() => keyed(w, w), ArgumentError);
});

test("equal tensors that were made apart may be donated together", async () => {
  const step = jit((s: State) => ({ w: s.w.add(1), m: s.m.add(2) }), { donate: [0] });
  const out = step(step(fresh()));
  assert.deepEqual([await out.w.at(0).item(), await out.m.at(0).item()], [2, 4]);
});

test("donated and returned as it is", async () => {
  const same = jit((x: Tensor) => ({ x, y: x }), { donate: [0] });
  const out = same(tensor([1, 2]));
  assert.deepEqual(await out.x.toArray(), [1, 2]);
  assert.deepEqual(await out.y.toArray(), [1, 2]);
  const swap = jit((s: State) => ({ w: s.m, m: s.w }), { donate: [0] });
  let state: State = { w: tensor([1]), m: tensor([2]) };
  for (let i = 0; i < 3; i++) state = swap(state);
  assert.deepEqual([await state.w.toArray(), await state.m.toArray()], [[2], [1]]);
});

test("the third trace warns and names the leaf that changed", async () => {
  const warn = mock.method(console, "warn", () => {});
  try {
    const step = jit((o: { x: Tensor; rate: number }) => o.x.mul(o.rate), { name: "step" });
    for (let n = 1; n <= 2; n++) step({ x: zeros([n]), rate: 1 });
    assert.equal(warn.mock.callCount(), 0);
    step({ x: zeros([3]), rate: 1 });
    assert.equal(warn.mock.callCount(), 1);
    const text = String(warn.mock.calls[0]?.arguments[0]);
    assert.match(text, /step .*3/);
    assert.match(text, /0\.x: f32\[2\] → f32\[3\]/);
    step({ x: zeros([2]), rate: 5 });
    assert.equal(warn.mock.callCount(), 1);
  } finally {
    warn.mock.restore();
  }
});

test("a read inside is a TraceError, and the function may be called again", async () => {
  let fail = true;
  const failing: Promise<unknown>[] = [];
  const step = jit((x: Tensor) => {
    if (fail) {
      failing.push(x.add(1).item());
      throw new ShapeError("mine");
    }
    return x.add(1);
  });
  assert.throws(() => step(tensor(1)), /mine/);
  await assert.rejects(failing[0] as Promise<unknown>, TraceError);
  fail = false;
  assert.equal(await step(tensor(1)).item(), 2);
  // Nothing of the trace is left behind: operations are lazy again.
  assert.equal(await tensor(1).add(1).item(), 2);
});

test("what is not a tensor in a result is given back as it is", async () => {
  const extra = new Map([["a", 1]]);
  const out = jit((x: Tensor) => ({
    x: x.add(1),
    list: [x, null, "text", 7, true],
    none: undefined,
    extra,
    deep: { y: { z: x } },
  }))(tensor([1]));
  assert.deepEqual(await out.x.toArray(), [2]);
  assert.deepEqual(out.list.slice(1), [null, "text", 7, true]);
  assert.equal(out.none, undefined);
  assert.equal(out.extra, extra);
  assert.deepEqual(await out.deep.y.z.toArray(), [1]);
  assert.equal(jit(() => "nothing")(), "nothing");
});

test("results that are constants, arguments, captured tensors or one another", async () => {
  const w = tensor([9]);
  const out = jit((x: Tensor) => {
    const y = x.add(1);
    return { c: tensor([4]), zero: zeros([2]), x, w, y, again: y, reshaped: y.reshape([1, 1]) };
  })(tensor([1]));
  const values = await Promise.all(Object.values(out).map((t) => t.toArray()));
  assert.deepEqual(values, [[4], [0, 0], [1], [9], [2], [2], [[2]]]);
  out.x.dispose();
  out.y.dispose();
  assert.deepEqual(await out.again.toArray(), [2]);
  assert.deepEqual(await w.toArray(), [9]);
});

test("scalars and empty tensors", async () => {
  const { run, count } = counted((x: Tensor) => ({ sum: x.sum(), twice: x.mul(2), max1: x.add(1).prod() }));
  const empty = run(zeros([0, 3]));
  assert.deepEqual([await empty.sum.item(), await empty.twice.toArray(), await empty.max1.item()], [0, [], 1]);
  const scalar = run(tensor(5));
  assert.deepEqual([await scalar.sum.item(), await scalar.twice.item()], [5, 10]);
  assert.equal(count.traces, 2);
});

test("two jitted functions of the same structure are one program", async () => {
  const make = (name: string) => jit((x: Tensor, y: Tensor) => x.mul(y).add(3).tanh(), { name });
  const [x, y] = [tensor([1, 2, 3]), tensor([4, 5, 6])];
  const first = await make("first")(x, y).data();
  const compiled = compileCount();
  assert.deepEqual(await make("second")(x, y).data(), first);
  assert.equal(compileCount(), compiled);
});

test("jit in jit is one program, and pending arguments are computed first", async () => {
  const inner = jit((x: Tensor) => x.add(1));
  const outer = jit((x: Tensor) => inner(inner(x)).mul(2));
  const pending = tensor([1]).mul(3);
  assert.deepEqual(await outer(pending).toArray(), [10]);
  assert.deepEqual(await pending.toArray(), [3]);
});

test("random numbers and derivatives inside are those outside", async () => {
  const k = key(5);
  const noise = (s: Tensor) => random.normal(s, [4]);
  assert.deepEqual(await jit(noise)(k).data(), await noise(k).data());
  const f = (x: Tensor) => x.sin().sum();
  assert.deepEqual(await jit(grad(f))(f64([1, 2])).data(), await grad(f)(f64([1, 2])).data());
});

test("a region is traced once for each structure, whoever calls it", async () => {
  let traces = 0;
  const block = region((w: Tensor, x: Tensor) => {
    traces++;
    return x.mul(w).add(1);
  });
  const ws = [tensor([2]), tensor([3]), tensor([4])];
  const net = (x: Tensor) => ws.reduce((y, w) => block(w, y), x);
  assert.deepEqual(await jit(net)(tensor([1])).toArray(), [41]);
  assert.deepEqual(await net(tensor([1])).toArray(), [41]);
  assert.equal(traces, 1);
});

test("a captured tensor of another shape is traced for again", async () => {
  const w = tensor([1, 2]);
  const { run, count } = counted((x: Tensor) => x.mul(w).sum());
  assert.equal(await run(tensor(2)).item(), 6);
  w.dispose();
  assert.throws(() => run(tensor(2)), DisposedError);
  assert.equal(count.traces, 1);
});

test("a call is recognised by its structure alone, and by all of it", async () => {
  let traces = 0;
  const f = jit(
    (
      tree: Readonly<Record<string, Tensor | number | string | undefined>>,
      list: readonly Tensor[],
      how: { scale: number },
    ) => {
      traces++;
      const parts = Object.keys(tree)
        .sort()
        .map((k) => (tree[k] instanceof Tensor ? tree[k] : full([2], Number(tree[k] ?? 7))));
      return { sum: [...parts, ...list].reduce((a, b) => a.add(b)).mul(how.scale), same: "as it was" };
    },
    { static: [2] },
  );
  const [a, b] = [tensor([1, 2]), tensor([10, 20])];
  const twice = { scale: 2 };
  const read = async (...args: Parameters<typeof f>) => [...(await f(...args).sum.data())];
  const warn = console.warn;
  console.warn = () => {};
  try {
    for (let i = 0; i < 3; i++) assert.deepEqual(await read({ x: a, n: 1 }, [b], twice), [24, 46]);
    assert.equal(traces, 1);
    // Keys in another order, another number and values that are still pending are the same call.
    assert.deepEqual(await read({ n: 3, x: a.mul(2) }, [b.add(0)], twice), [30, 54]);
    assert.equal(traces, 1);
    // Another dtype, length, key, fixed value or static value is not.
    assert.deepEqual(await read({ x: a, n: 1 }, [b, b], twice), [44, 86]);
    assert.deepEqual(await read({ y: a, n: 1 }, [b, b], twice), [44, 86]);
    assert.deepEqual(await read({ y: a, n: undefined }, [b, b], twice), [56, 98]);
    assert.deepEqual(await read({ y: a, m: undefined }, [b, b], twice), [56, 98]);
    assert.deepEqual(await read({ y: a, m: "1" }, [b, b], twice), [44, 86]);
    assert.deepEqual(await read({ y: a, m: "2" }, [b, b], twice), [46, 88]);
    assert.deepEqual(await read({ y: a, m: "2" }, [b, b], { scale: 1 }), [23, 44]);
    assert.deepEqual(await read({ y: a.cast("f64"), m: "2" }, [b, b], twice), [46, 88]);
    assert.equal(traces, 9);
    a.dispose();
    assert.throws(() => f({ x: a, n: 1 }, [b], twice), { name: "DisposedError" });
  } finally {
    console.warn = warn;
  }
});
