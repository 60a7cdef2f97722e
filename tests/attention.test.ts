/** Attention as one op: against its plain definition in doubles on each device, its gradients, and what it keeps in memory. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  concat,
  full,
  device,
  grad,
  hvp,
  iota,
  jit,
  jvp,
  key,
  matmul,
  nn,
  random,
  slice,
  softmax,
  stack,
  tensor,
  type Tensor,
  vmap,
  where,
  zeros,
} from "sinan";
import { compile } from "../core/src/compiler/compile.ts";
import { tensorType } from "../core/src/ir/type.ts";
import { lower } from "../core/src/kernel/lower.ts";
import { itemsOf, loadsIn, placedNests, rangeOfLoop, rangesIn } from "../core/src/kernel/nests.ts";
import type { HardwareModel } from "../core/src/runtime/hardware.ts";
import { trace } from "../core/src/tensor/trace.ts";
import { cpuDriver } from "../south/cpu/src/index.ts";
import { close } from "./close.ts";

interface Case {
  readonly batch?: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly queries: number;
  readonly keys: number;
  readonly size?: number;
  readonly width?: number;
  readonly causal?: boolean;
  readonly mask?: "bool" | "bias";
}

const cases: Readonly<Record<string, Case>> = {
  "a few queries": { heads: 2, kvHeads: 2, queries: 5, keys: 7 },
  "several tiles, causal": { heads: 2, kvHeads: 1, queries: 150, keys: 150, causal: true },
  "more keys than queries, causal": { heads: 2, kvHeads: 2, queries: 70, keys: 129, size: 6, width: 10, causal: true },
  "more queries than keys, causal: the first see nothing": {
    heads: 1,
    kvHeads: 1,
    queries: 90,
    keys: 70,
    causal: true,
  },
  "grouped queries, one each": { batch: 2, heads: 8, kvHeads: 2, queries: 1, keys: 100, mask: "bool" },
  "a mask by batch and query": { batch: 2, heads: 4, kvHeads: 2, queries: 33, keys: 65, mask: "bool" },
  "values of no width": { heads: 2, kvHeads: 1, queries: 70, keys: 5, width: 0, causal: true },
  "no keys": { heads: 2, kvHeads: 2, queries: 3, keys: 0, mask: "bool" },
  "no queries": { heads: 2, kvHeads: 1, queries: 0, keys: 70 },
  "no batch": { batch: 0, heads: 2, kvHeads: 2, queries: 3, keys: 4, causal: true },
  "one query of three parts of keys": { batch: 2, heads: 4, kvHeads: 2, queries: 1, keys: 2100 },
  "two parts, one after the other": { heads: 2, kvHeads: 1, queries: 33, keys: 1030, causal: true },
  "a bias": { heads: 3, kvHeads: 3, queries: 40, keys: 64, mask: "bias", causal: true },
};

function sampleOf(c: Case): readonly [q: Tensor, k: Tensor, v: Tensor, mask: Tensor | undefined] {
  const { batch = 1, heads, kvHeads, queries, keys, size = 8, width = 8 } = c;
  const normal = (seed: number, dims: readonly number[]): Tensor => random.normal(key(seed), dims);
  const mask =
    c.mask === "bool"
      ? normal(4, [batch, 1, queries, keys]).greater(0.3)
      : c.mask === "bias"
        ? normal(4, [heads, 1, keys])
        : undefined;
  return [
    normal(1, [batch, heads, queries, size]).mul(2),
    normal(2, [batch, kvHeads, keys, size]),
    normal(3, [batch, kvHeads, keys, width]),
    mask,
  ];
}

const attend = (c: Case, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | undefined): Tensor =>
  nn.scaledDotProductAttention(q, k, v, { causal: c.causal ?? false, ...(mask ? { mask } : {}) });

/** The result, and the gradients of a weighted sum of it by q, k, v and a bias. */
function everything(c: Case): (q: Tensor, k: Tensor, v: Tensor, mask: Tensor | undefined) => Tensor[] {
  return (q, k, v, mask) => {
    const out = attend(c, q, k, v, mask);
    const loss = (a: Tensor, b: Tensor, d: Tensor, m: Tensor | undefined): Tensor => {
      const y = attend(c, a, b, d, m);
      return y.mul(random.normal(key(9), y.shape)).sum();
    };
    const bias = c.mask === "bias" && mask ? [grad((m: Tensor) => loss(q, k, v, m))(mask)] : [];
    return [
      out,
      grad((x: Tensor) => loss(x, k, v, mask))(q),
      grad((x: Tensor) => loss(q, x, v, mask))(k),
      grad((x: Tensor) => loss(q, k, x, mask))(v),
      ...bias,
    ];
  };
}

const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);

for (const [name, c] of Object.entries(cases))
  test(`attention, ${name}: values and gradients are the plain definition's, on one thread and on two`, async () => {
    const run = async (on: string, options: Record<string, number | boolean>) => {
      await device(on, { options });
      const [q, k, v, mask] = sampleOf(c);
      const made = jit(everything(c))(q, k, v, mask);
      return { made, numbers: await Promise.all(made.map(numbers)) };
    };
    const want = (await run("interpreter", { exact: true })).numbers;
    const one = await run("cpu", { threads: 1 });
    for (const [i, t] of one.made.entries())
      await close(t, want[i] as number[], { relative: 3e-5, absolute: 1e-5 }, ["out", "dq", "dk", "dv", "bias"][i]);
    const two = await run("cpu", { threads: 2, grain: 1 });
    assert.deepEqual(two.numbers, one.numbers);
  });

/** How many keys each of the batch has; NaN lies behind them. */
const lengthCases: Readonly<Record<string, Case & { readonly lengths: readonly number[] }>> = {
  "one query": { heads: 4, kvHeads: 2, queries: 1, keys: 200, lengths: [1, 64, 65, 199] },
  causal: { heads: 2, kvHeads: 1, queries: 40, keys: 200, causal: true, lengths: [40, 100, 200] },
  "causal, several tiles, none, few and all": {
    heads: 1,
    kvHeads: 1,
    queries: 70,
    keys: 150,
    causal: true,
    lengths: [0, 20, 64, 128, 150],
  },
};

for (const [name, c] of Object.entries(lengthCases))
  test(`kvLengths, ${name}: as if the keys ended there, with gradients of 0 behind`, async () => {
    const run = async (on: string, options: Record<string, number | boolean>) => {
      await device(on, { options });
      const [q, k, v] = sampleOf({ ...c, batch: c.lengths.length });
      const ends = tensor(Int32Array.from(c.lengths));
      const behind = iota([c.lengths.length, 1, c.keys, 1], 2).greaterEqual(ends.reshape([-1, 1, 1, 1]));
      const spoilt = [k, v].map((x) => where(behind, Number.NaN, x)) as [Tensor, Tensor];
      const loss = (f: (a: Tensor, b: Tensor, d: Tensor) => Tensor) => (all: readonly Tensor[]) => {
        const y = f(...(all as [Tensor, Tensor, Tensor]));
        return y.mul(random.normal(key(9), [1, ...y.shape.slice(1)])).sum();
      };
      const made = jit((q: Tensor, k: Tensor, v: Tensor, kvLengths: Tensor) => {
        const f = (a: Tensor, b: Tensor, d: Tensor): Tensor =>
          nn.scaledDotProductAttention(a, b, d, { causal: c.causal ?? false, kvLengths });
        return [f(q, k, v), ...grad(loss(f))([q, k, v])];
      })(q, ...spoilt, ends);
      return Promise.all(made.map(numbers));
    };
    await device("interpreter", { options: { exact: true } });
    const [q, k, v] = sampleOf({ ...c, batch: c.lengths.length });
    // Each of the batch by itself, of keys that are cut off.
    const want: number[][] = [[], [], [], []];
    for (const [b, length] of c.lengths.entries()) {
      const alone = [q.narrow(0, b, 1), k.narrow(0, b, 1).narrow(2, 0, length), v.narrow(0, b, 1).narrow(2, 0, length)];
      const parts = everything(c)(...(alone as [Tensor, Tensor, Tensor]), undefined);
      const rest = zeros([1, c.kvHeads, c.keys - length, 8]);
      for (const [i, part] of parts.entries())
        want[i]?.push(...(await numbers(i < 2 ? part : concat([part, rest], 2))));
    }
    const one = await run("cpu", { threads: 1 });
    for (const results of [await run("interpreter", { exact: true }), one])
      for (const [i, got] of results.entries())
        await close(tensor(got, { dtype: "f64" }), want[i] as number[], { relative: 3e-5, absolute: 1e-5 });
    assert.deepEqual(await run("cpu", { threads: 2, grain: 1 }), one);
  });

/** The first key that each query sees, which need not grow with the query. */
const startCases: Readonly<Record<string, Case & { readonly starts: (batch: number, query: number) => number }>> = {
  "documents of one row, none like the other row's": {
    batch: 2,
    heads: 2,
    kvHeads: 1,
    queries: 200,
    keys: 200,
    causal: true,
    starts: (b, t) => (b === 0 ? [0, 64, 65, 130].findLast((s) => s <= t) : t < 150 ? 0 : 150) as number,
  },
  "a window": { heads: 1, kvHeads: 1, queries: 170, keys: 170, causal: true, starts: (_, t) => Math.max(0, t - 20) },
  "one query of a cache": { heads: 4, kvHeads: 2, queries: 1, keys: 200, starts: () => 130 },
  "in any order, behind the keys and before them": {
    heads: 2,
    kvHeads: 2,
    queries: 80,
    keys: 150,
    starts: (_, t) => ((t * 37) % 190) - 10,
  },
};

for (const [name, c] of Object.entries(startCases))
  test(`kvStarts, ${name}: as a mask, to the bit where there is one, on one thread and on two`, async () => {
    const { batch = 1, queries, keys } = c;
    const first = Int32Array.from({ length: batch * queries }, (_, i) =>
      c.starts(Math.floor(i / queries), i % queries),
    );
    const run = async (on: string, options: Record<string, number | boolean>, isMask: boolean) => {
      await device(on, { options });
      const [q, k, v] = sampleOf(c);
      const starts = tensor(first, { shape: [batch, queries] });
      const mask = iota([batch, 1, queries, keys], 3).greaterEqual(starts.reshape([batch, 1, queries, 1]));
      const given = isMask ? { mask } : { kvStarts: starts };
      const f = (a: Tensor, b: Tensor, d: Tensor): Tensor =>
        nn.scaledDotProductAttention(a, b, d, { causal: c.causal ?? false, ...given });
      const loss = (all: readonly Tensor[]): Tensor => {
        const y = f(...(all as [Tensor, Tensor, Tensor]));
        return y.mul(random.normal(key(9), y.shape)).sum();
      };
      const made = jit((a: Tensor, b: Tensor, d: Tensor) => [f(a, b, d), ...grad(loss)([a, b, d])])(q, k, v);
      return Promise.all(made.map(numbers));
    };
    const want = await run("interpreter", { exact: true }, true);
    assert.deepEqual(await run("interpreter", { exact: true }, false), want);
    const one = await run("cpu", { threads: 1 }, false);
    for (const [i, got] of one.entries())
      await close(tensor(got, { dtype: "f64" }), want[i] as number[], { relative: 3e-5, absolute: 1e-5 });
    assert.deepEqual(await run("cpu", { threads: 1 }, true), one);
    assert.deepEqual(await run("cpu", { threads: 2, grain: 1 }, false), one);
  });

test("parts of keys: as many pieces of work as the shape says, and the bits of a head that has them one after the other", async () => {
  const loopsOf = (batch: number, heads: number, keys: number): (readonly [kind: string, pieces: number])[] => {
    const dims = [batch, heads, keys, 8];
    const types = [tensorType("f32", [batch, heads, 1, 8]), tensorType("f32", dims), tensorType("f32", dims)];
    const { fn } = trace("attention", types, ([q, k, v]) => [
      nn.scaledDotProductAttention(q as Tensor, k as Tensor, v as Tensor),
    ]);
    return itemsOf(lower(fn)).flatMap((item) =>
      item.op === "loop" ? [[item.attr.kind, rangeOfLoop(item).attr.extent] as const] : [],
    );
  };
  assert.deepEqual(loopsOf(1, 1, 16_384), [
    ["parallel", 16],
    ["parallel", 1],
  ]);
  assert.deepEqual(loopsOf(1, 3, 2500), [
    ["parallel", 9],
    ["parallel", 3],
  ]);
  assert.deepEqual(loopsOf(1, 3, 1024), [["parallel", 3]]);
  assert.deepEqual(loopsOf(2, 16, 16_384), [["parallel", 32]]);

  const [q, k, v] = sampleOf({ batch: 32, heads: 1, kvHeads: 1, queries: 1, keys: 2500 });
  const run = async (options: Record<string, number>, batch: number) => {
    await device("cpu", { options });
    const some = [q, k, v].map((x) => x.narrow(0, 0, batch)) as [Tensor, Tensor, Tensor];
    return numbers(nn.scaledDotProductAttention(...some).narrow(0, 0, 1));
  };
  const want = await run({ threads: 1 }, 32);
  for (const threads of [1, 2, 5]) assert.deepEqual(await run({ threads, grain: 1 }, 1), want, `${threads} threads`);
});

test("a cache with places for several parts has the bits of the keys that are there", async () => {
  await device("cpu");
  const [q, k, v] = sampleOf({ heads: 4, kvHeads: 2, queries: 30, keys: 2500 });
  for (const length of [40, 1024, 1500]) {
    const cache = (x: Tensor): Tensor =>
      concat([x.narrow(2, 0, length), full([1, 2, 3008 - length, 8], Number.NaN)], 2);
    const kvLengths = tensor([length], { dtype: "i32" });
    const lastOf = (count: number): Promise<number[]> => {
      const some = q.narrow(2, 30 - count, count);
      const y = nn.scaledDotProductAttention(some, cache(k), cache(v), { causal: true, kvLengths });
      return numbers(y.at(slice(), slice(), -1));
    };
    const alone = await lastOf(1);
    assert.ok(alone.every(Number.isFinite));
    for (const count of [2, 5, 30]) assert.deepEqual(await lastOf(count), alone, `${count} of ${length}`);
  }
});

test("heads that share keys go through them together", () => {
  const keys = tensorType("f32", [1, 2, 128, 16]);
  for (const group of [1, 4]) {
    const types = [tensorType("f32", [1, 2 * group, 1, 16]), keys, keys];
    const { fn } = trace("attention", types, ([q, k, v]) => [
      nn.scaledDotProductAttention(q as Tensor, k as Tensor, v as Tensor),
    ]);
    const kernel = lower(fn);
    const read = new Set(kernel.params.slice(1, 3));
    for (const { nest, around } of placedNests(kernel)) {
      const loads = loadsIn([nest]).filter((load) => read.has(load.src[0] as never));
      if (loads.length === 0) continue;
      // Two heads, four tiles: elements of a tile times queries, and no loop over queries around them.
      assert.equal(
        around.reduce((n, loop) => n * rangeOfLoop(loop).attr.extent, 1),
        8,
      );
      const extents = [...rangesIn([nest]).values()].flatMap((r) => (r.attr.kind === "outer" ? [] : [r.attr.extent]));
      assert.equal(
        extents.reduce((n, extent) => n * extent, 1),
        group * 32 * 16,
      );
    }
  }
});

test("tiles of keys that no query sees are not visited", async () => {
  await device("cpu", { options: { threads: 1 } });
  const c: Case = { heads: 2, kvHeads: 2, queries: 1024, keys: 1024, size: 64, width: 64, causal: true };
  const [q, k, v] = sampleOf(c);
  const step = jit((kvStarts: Tensor) =>
    grad((x: Tensor) => nn.scaledDotProductAttention(x, k, v, { causal: true, kvStarts }).sum())(q),
  );
  const time = async (length: number): Promise<number> => {
    const starts = tensor(
      Int32Array.from({ length: 1024 }, (_, t) => t - (t % length)),
      { shape: [1, 1024] },
    );
    const times: number[] = [];
    for (let i = 0; i < 5; i++) {
      const begin = performance.now();
      await step(starts).data();
      times.push(performance.now() - begin);
    }
    return Math.min(...times);
  };
  const [whole, short] = [await time(1024), await time(64)];
  // A sixteenth of the pairs twice over, as half of a causal square is not visited anyway.
  assert.ok(short < whole / 2, `${short} ms for documents of 64, ${whole} ms for one of 1024`);
});

const few: Case = { heads: 2, kvHeads: 1, queries: 4, keys: 5, size: 3, width: 2, causal: true };

/** The plain definition by tensor operations that people would write. */
function written(q: Tensor, k: Tensor, v: Tensor): Tensor {
  const [, heads, queries, size] = q.shape as [number, number, number, number];
  const keys = k.shape[2] as number;
  const repeated = (x: Tensor): Tensor =>
    concat(
      Array.from({ length: heads / (x.shape[1] as number) }, () => x),
      1,
    );
  const scores = matmul(q, repeated(k).transpose([0, 1, 3, 2])).div(Math.sqrt(size));
  const seen = iota([queries, keys], 1).lessEqual(iota([queries, keys], 0).add(keys - queries));
  return matmul(softmax(where(seen, scores, Number.NEGATIVE_INFINITY)), repeated(v));
}

test("second derivatives and forward mode are those of the plain definition", async () => {
  await device("cpu");
  const [q, k, v] = sampleOf(few);
  const loss = (f: typeof written) => (x: Tensor) => f(x, k.mul(x.sum()), v.add(x.mean())).square().sum();
  const op = (a: Tensor, b: Tensor, c: Tensor): Tensor => attend(few, a, b, c, undefined);
  const t = random.normal(key(7), q.shape);
  for (const transform of [
    (f: typeof written) => hvp(loss(f))(q, t),
    (f: typeof written) => jvp(loss(f), [q], [t])[1],
    (f: typeof written) => grad((x: Tensor) => grad(loss(f))(x).square().sum())(q),
  ]) {
    const [a, b] = [transform(op), transform(written)].map((y) => (Array.isArray(y) ? y[0] : y) as Tensor);
    await close(a as Tensor, await numbers(b as Tensor), { relative: 1e-3, absolute: 1e-3 });
  }
});

test("vmap makes the mapped axis a part of the batch", async () => {
  await device("cpu");
  const c = cases["a mask by batch and query"] as Case;
  const [q, k, v, mask] = sampleOf(c);
  const many = (x: Tensor): Tensor => stack([x, x.mul(0.5)]);
  const f = (x: Tensor, y: Tensor): Tensor => attend(c, x, y, v, mask);
  const both = await numbers(vmap(f)(many(q), many(k)));
  const one = await numbers(f(q, k));
  const other = await numbers(f(q.mul(0.5), k.mul(0.5)));
  assert.deepEqual(both, [...one, ...other]);
});

test("vmap maps kvLengths; a bias ends where they do, in second derivatives too", async () => {
  await device("cpu");
  const c: Case = { heads: 2, kvHeads: 1, queries: 3, keys: 9, mask: "bias" };
  const [q, k, v, bias] = sampleOf(c) as readonly [Tensor, Tensor, Tensor, Tensor];
  const lengths = tensor(Int32Array.of(2, 9, 7), { shape: [3, 1] });
  const loss = (m: Tensor, x: Tensor, kvLengths: Tensor): Tensor =>
    nn.scaledDotProductAttention(q, x, v.mul(x.sum()), { mask: m, kvLengths, causal: true }).square().sum();
  // The same by a mask, of which −∞ lies behind the end: with `causal` the last query is at the last key that there is.
  const masked = (m: Tensor, x: Tensor, end: Tensor): Tensor => {
    const seen = iota([3, 9], 1).lessEqual(iota([3, 9], 0).add(end).sub(3));
    const mask = where(seen, m, Number.NEGATIVE_INFINITY);
    return nn.scaledDotProductAttention(q, x, v.mul(x.sum()), { mask }).square().sum();
  };
  for (const of of [
    (f: typeof loss) => (end: Tensor) => grad((m: Tensor) => f(m, k, end))(bias),
    (f: typeof loss) => (end: Tensor) => hvp((x: Tensor) => f(bias, x, end))(k, random.normal(key(7), k.shape)),
  ]) {
    const [got, want] = [vmap(of(loss))(lengths), stack([0, 1, 2].map((i) => of(masked)(lengths.at(i))))];
    await close(got, await numbers(want), { relative: 1e-3, absolute: 1e-3 });
  }
});

/** The largest buffer that a kernel of an attention with its gradients reads or writes. */
async function largestBuffer(query: readonly number[], keys: readonly number[]): Promise<number> {
  const types = [query, keys, keys].map((dims) => tensorType("f32", dims));
  const { fn } = trace("loss", types, (operands) =>
    Object.values(
      grad(({ q, k, v }: Record<"q" | "k" | "v", Tensor>) =>
        nn.scaledDotProductAttention(q, k, v, { causal: true }).square().sum(),
      )({ q: operands[0] as Tensor, k: operands[1] as Tensor, v: operands[2] as Tensor }),
    ),
  );
  const [hardware] = await cpuDriver.probe();
  const plan = compile(fn, hardware as HardwareModel);
  assert.ok(plan.steps.length > 1);
  return Math.max(...plan.steps.flatMap((s) => ("slots" in s ? s.slots.map((slot) => slot.bytes) : [])));
}

test("no buffer is as large as a matrix of scores, forward or backward", async () => {
  const largest = await largestBuffer([1, 1, 2048, 64], [1, 1, 2048, 64]);
  assert.ok(largest < 2048 * 2048 * 4, `${largest} bytes`);
});

test("keys and values that groups of queries share are not repeated, forward or backward", async () => {
  const largest = await largestBuffer([1, 8, 3, 64], [1, 2, 2048, 64]);
  assert.equal(largest, 2 * 2048 * 64 * 4);
});

test("a query that sees nothing is 0 and has no gradient, nor gives one", async () => {
  await device("cpu");
  const c = cases["more queries than keys, causal: the first see nothing"] as Case;
  const [q, k, v] = sampleOf(c);
  const blind = c.queries - c.keys;
  const y = await numbers(attend(c, q, k, v, undefined));
  assert.ok(y.slice(0, blind * 8).every((x) => x === 0) && y.slice(blind * 8).every((x) => x !== 0));
  const g = await numbers(grad((x: Tensor) => attend(c, x, k, v, undefined).square().sum())(q));
  assert.ok(g.slice(0, blind * 8).every((x) => x === 0) && g.every(Number.isFinite));
});

test("a query has the same bits alone and among others", async () => {
  await device("cpu");
  const c: Case = { heads: 4, kvHeads: 2, queries: 150, keys: 150, causal: true };
  const [q, k, v] = sampleOf(c);
  const all = await numbers(attend(c, q, k, v, undefined).at(slice(), slice(), -1));
  for (const count of [1, 3, 20]) {
    const last = attend(c, q.narrow(2, 150 - count, count), k, v, undefined).at(slice(), slice(), -1);
    assert.deepEqual(await numbers(last), all, `of ${count}`);
  }
});

test("a query with keys of its own has the same bits alone and among others, before a cache with more places", async () => {
  await device("cpu");
  const [q, k, v] = sampleOf({ heads: 3, kvHeads: 3, queries: 150, keys: 150 });
  for (const length of [1, 16, 17, 64, 100, 128, 150]) {
    // What lies behind the last key is not read.
    const cache = (x: Tensor): Tensor => concat([x.narrow(2, 0, length), full([1, 3, 256 - length, 8], Number.NaN)], 2);
    const kvLengths = tensor([length], { dtype: "i32" });
    const lastOf = (count: number): Promise<number[]> => {
      const some = q.narrow(2, length - count, count);
      const y = nn.scaledDotProductAttention(some, cache(k), cache(v), { causal: true, kvLengths });
      return numbers(y.at(slice(), slice(), -1));
    };
    const alone = await lastOf(1);
    assert.ok(alone.every(Number.isFinite));
    assert.deepEqual(alone, await lastOf(Math.min(length, 20)), `of ${length}`);
  }
});

for (const dtype of ["f16", "bf16"] as const)
  test(`attention of ${dtype} computes in f32 and rounds its results`, async () => {
    await device("cpu");
    const c = cases["several tiles, causal"] as Case;
    const [q, k, v] = sampleOf(c).map((x) => x?.cast(dtype)) as [Tensor, Tensor, Tensor];
    const wide = [q, k, v].map((x) => x.cast("f32")) as [Tensor, Tensor, Tensor];
    const narrow = jit(everything(c))(q, k, v, undefined);
    const whole = jit(everything(c))(...wide, undefined);
    for (const [i, y] of narrow.entries()) {
      assert.equal(y.dtype, dtype);
      const unit = dtype === "f16" ? 2 ** -10 : 2 ** -7;
      // The cotangent is rounded too, and a sum of its products cancels.
      const scale = Math.max(...(await numbers(whole[i] as Tensor)).map(Math.abs));
      await close(y.cast("f32"), await numbers(whole[i] as Tensor), { relative: 2 * unit, absolute: 2 * unit * scale });
    }
  });
