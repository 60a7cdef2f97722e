/** The pool: every iteration once, every step after the one before it, on this thread and beside it, by any number of threads. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Rig, rig } from "./pool.fixture.ts";
import type { Pool } from "./pool.ts";

const here = await rig();
const skip = typeof here === "string" ? here : false;
const given = here as Rig;
const ordered = (a: string, b: string): number => (a < b ? -1 : 1);

async function withPool(threads: number, use: (pool: Pool) => Promise<void> | void, from: Rig = given): Promise<void> {
  const pool = from.open(threads);
  try {
    await use(pool);
  } finally {
    await pool.close();
  }
}

for (const threads of [1, 2, 5, 16]) {
  test(`${threads} threads run each iteration once, whatever the shape`, { skip }, async () => {
    const count = given.symbol("count");
    const counts = new Int32Array(5000);
    const address = given.ffi.addressOf(counts);
    await withPool(threads, (pool) => {
      const shape = fc.record({
        extent: fc.integer({ min: 0, max: counts.length }),
        chunks: fc.integer({ min: 0, max: 600 }),
      });
      fc.assert(
        fc.property(fc.array(shape, { maxLength: 20 }), (shapes) => {
          counts.fill(0);
          pool.begin();
          pool.with([address], []);
          for (const { extent, chunks } of shapes) pool.launch(count, extent, chunks, 1e10);
          pool.run();
          for (let i = 0; i < counts.length; i++)
            assert.equal(counts[i], shapes.filter(({ extent }) => i < extent).length, `iteration ${i}`);
        }),
        { numRuns: 60 },
      );
    });
  });

  test(`${threads} threads run a step when the one before it is done`, { skip }, async () => {
    const follow = given.symbol("follow");
    const n = 64;
    const steps = 20000;
    await withPool(threads, async (pool) => {
      const [a, b] = [new Float64Array(n), new Float64Array(n)];
      const addresses = [given.ffi.addressOf(a), given.ffi.addressOf(b)];
      for (const isAsync of [false, true]) {
        a.fill(0);
        b.fill(0);
        pool.begin();
        for (let i = 0; i < steps; i++) {
          pool.with(i % 2 ? addresses : [...addresses].reverse(), [n, i % n]);
          pool.launch(follow, n, 1 + (i % 9), 1e10);
        }
        if (isAsync) await pool.runAsync();
        else pool.run();
        assert.deepEqual([...a], new Array(n).fill(steps));
        assert.deepEqual([...b], new Array(n).fill(steps - 1));
      }
    });
  });
}

test("the pool without futexes does the same", { skip }, async () => {
  const portable = (await rig(["-DSINAN_NO_FUTEX"])) as Rig;
  const follow = portable.symbol("follow");
  await withPool(
    3,
    async (pool) => {
      const [a, b] = [new Float64Array(64), new Float64Array(64)];
      const addresses = [portable.ffi.addressOf(a), portable.ffi.addressOf(b)];
      pool.begin();
      for (let i = 0; i < 2000; i++) {
        pool.with(i % 2 ? addresses : [...addresses].reverse(), [64, i % 64]);
        pool.launch(follow, 64, 4, 1e10);
      }
      await pool.runAsync();
      assert.deepEqual([...a], new Array(64).fill(2000));
    },
    portable,
  );
});

test("lists run in order, on this thread or beside it, and may be written while others run", { skip }, async () => {
  const follow = given.symbol("follow");
  const slow = given.symbol("sleep_ns");
  await withPool(2, async (pool) => {
    const [a, b] = [new Float64Array(100), new Float64Array(100)];
    const [to, from] = [given.ffi.addressOf(a), given.ffi.addressOf(b)];
    const ends: number[] = [];
    const all: Promise<unknown>[] = [];
    for (let i = 0; i < 60; i++) {
      pool.begin();
      pool.with([], [i % 7 === 0 ? 1e6 : 1]);
      pool.launch(slow, 1, 1, 1e10);
      // Lists of very different lengths take each other's arrays.
      for (let j = 0; j < (i % 5) * 100 + 1; j++) {
        pool.with(j % 2 ? [from, to] : [to, from], [100, j]);
        pool.launch(follow, 100, 3, 1e10);
      }
      pool.with([to, from], [100, 0]);
      pool.launch(follow, 100, 3, 1e10);
      pool.copy(from, to, 800, 2);
      if (i % 11 === 10) {
        pool.run();
        ends.push(i);
      } else all.push(pool.runAsync().then(() => ends.push(i)));
    }
    await Promise.all(all);
    // A list's promise is told in turn; one that ran on this thread ended before those that were then told.
    const async = ends.filter((i) => i % 11 !== 10);
    assert.deepEqual(
      async,
      async.toSorted((x, y) => x - y),
    );
    assert.equal(ends.length, 60);
    const expected = { a: 0, b: 0 };
    for (let i = 0; i < 60; i++) {
      for (let j = 0; j < (i % 5) * 100 + 1; j++) {
        if (j % 2) expected.b = expected.a + 1;
        else expected.a = expected.b + 1;
      }
      expected.a = expected.b + 1;
      expected.b = expected.a;
    }
    assert.deepEqual([a[0], b[99]], [expected.a, expected.b]);
  });
});

test("copies and fills reach their bytes and no others", { skip }, async () => {
  await withPool(5, (pool) => {
    const bytes = new Uint8Array(40000);
    const address = given.ffi.addressOf(bytes);
    fc.assert(
      fc.property(
        fc.record({
          from: fc.integer({ min: 0, max: 9999 }),
          to: fc.integer({ min: 20000, max: 29999 }),
          length: fc.integer({ min: 0, max: 10000 }),
          chunks: fc.integer({ min: 1, max: 40 }),
        }),
        ({ from, to, length, chunks }) => {
          for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7) % 251;
          const expected = bytes.slice();
          expected.copyWithin(to, from, from + length);
          expected.fill(9, from, from + length);
          pool.begin();
          pool.copy(address + to, address + from, length, chunks);
          pool.fill(address + from, 9, length, chunks);
          pool.run();
          assert.deepEqual(bytes, expected);
        },
      ),
      { numRuns: 100 },
    );
  });
});

test("threads have names, the same numbers and 6 MiB of stack", { skip }, async () => {
  await withPool(3, async (pool) => {
    const ids = new Float64Array(64);
    const names = new Uint8Array(16 * 64);
    for (const isAsync of [false, true]) {
      pool.begin();
      pool.with([given.ffi.addressOf(ids), given.ffi.addressOf(names)], [2e5]);
      pool.launch(given.symbol("who"), 64, 64, 1e10);
      if (isAsync) await pool.runAsync();
      else pool.run();
      const text = new TextDecoder();
      const found = new Set(
        [...ids.keys()].map((i) => text.decode(names.subarray(16 * i, 16 * i + 16)).split("\0", 1)[0]),
      );
      assert.equal(new Set(ids).size, 3);
      assert.ok(found.has("sinan 1") && found.has("sinan 2"), [...found].join());
      assert.equal(found.has("sinan 0"), isAsync);

      const values = new Float64Array(12);
      for (const chunks of [1, 12]) {
        pool.begin();
        pool.with([given.ffi.addressOf(values)], []);
        pool.launch(given.symbol("deep"), 12, chunks, 1e10);
        if (isAsync) await pool.runAsync();
        else pool.run();
        assert.deepEqual([...values], new Array(12).fill(1));
      }
      // Not flushed to zero, on any thread.
      const small = new Float64Array(64).fill(2 ** -1070);
      pool.begin();
      pool.with([given.ffi.addressOf(small)], []);
      pool.launch(given.symbol("halve"), 64, 64, 1e10);
      if (isAsync) await pool.runAsync();
      else pool.run();
      assert.deepEqual([...small], new Array(64).fill(2 ** -1071));
    }
    assert.equal(2 ** -1070 * 0.5, 2 ** -1071);
  });
});

test("a trace has a span for each thread of a step, in the epoch's milliseconds", { skip }, async () => {
  await withPool(2, async (pool) => {
    const own = { name: "who" };
    const ids = new Float64Array(8);
    const names = new Uint8Array(16 * 8);
    const address = given.ffi.addressOf(ids);
    for (const isAsync of [false, true]) {
      const begin = performance.timeOrigin + performance.now();
      pool.tracing = true;
      pool.begin();
      pool.fill(address, 0, 64, 1);
      pool.with([address, given.ffi.addressOf(names)], [1e6]);
      pool.launch(given.symbol("who"), 8, 8, 1e10, own);
      pool.launch(given.symbol("who"), 8, 1, 1e10, own);
      if (isAsync) await pool.runAsync();
      else pool.run();
      const end = performance.timeOrigin + performance.now();
      const spans = pool.spans();
      assert.deepEqual(pool.spans(), []);
      const named = spans.map(({ executable, thread }) => `${executable?.name} ${thread}`);
      assert.deepEqual(named.toSorted(ordered), ["undefined 0", "who 0", "who 0", "who 1"]);
      for (const span of spans) assert.ok(begin - 1 < span.begin && span.begin <= span.end && span.end < end + 1);
      const [, first, second, third] = spans.toSorted((x, y) => x.begin - y.begin);
      assert.ok(
        first && second && third && first.end - first.begin >= 3 && third.begin >= Math.max(first.end, second.end),
      );
      assert.equal(first.launch, third.launch);
      pool.tracing = false;
      pool.run();
      assert.deepEqual(pool.spans(), []);
    }
  });
});

test("memories stay where they are when they grow", { skip }, () => {
  for (const shared of [true, false]) {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 30000, shared });
    const base = given.ffi.baseOf(memory);
    memory.grow(20000);
    assert.equal(given.ffi.baseOf(memory), base);
    assert.equal(given.ffi.addressOf(new Uint8Array(memory.buffer, 640)), base + 640);
  }
  const endless = new WebAssembly.Memory({ initial: 1 });
  const base = given.ffi.baseOf(endless);
  endless.grow(20000);
  assert.equal(given.ffi.baseOf(endless), base);
});

test("a closed pool refuses; what was under way is done", { skip }, async () => {
  const pool = given.open(2);
  const counts = new Int32Array(100);
  pool.begin();
  pool.with([], [2e7]);
  pool.launch(given.symbol("sleep_ns"), 1, 1, 1e10);
  pool.with([given.ffi.addressOf(counts)], []);
  pool.launch(given.symbol("count"), 100, 10, 1e10);
  const running = pool.runAsync();
  await pool.close();
  await running;
  assert.deepEqual([...counts], new Array(100).fill(1));
  assert.throws(() => pool.run(), { name: "DeviceLostError" });
  await assert.rejects(pool.runAsync(), { name: "DeviceLostError" });
  await pool.close();
});

test("a shared object or a symbol that is not there is refused with its name", { skip }, () => {
  assert.throws(() => given.ffi.open("/no/such/object.so"), { name: "DeviceError", message: /\/no\/such\/object\.so/ });
  assert.throws(() => given.symbol("no_such_symbol"), { name: "DeviceError", message: /no_such_symbol/ });
});
