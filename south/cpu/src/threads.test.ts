/** Kernels whose loops several threads share. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { device, jit, key, matmul, random, register, type Tensor, tensor } from "sinan";
import { type Artifact, type Command, type Device, KernelError, type Region } from "sinan/south";
import { cpuDriver, wasmCodegen } from "./index.ts";
import { TaskQueue } from "./tasks.ts";
import { type FunctionBody, wasmModule } from "./wasm/assembler.ts";
import { partsSection } from "./wasm/parts.ts";
import { field, layout, serving } from "./worker.ts";

const open = (threads: number, more: { shared?: boolean; grain?: number } = {}): Promise<Device> =>
  cpuDriver.open("cpu", { threads, grain: 1, ...more });
const at = (value: number) => ({ timeline: 0, value: BigInt(value) });
const region = (device: Device, bytes: number): Region => ({ memory: device.alloc(bytes, "device"), offset: 0, bytes });
const bytesOf = ({ memory, bytes }: Region): Uint8Array => (memory.view?.() ?? new Uint8Array()).subarray(0, bytes);

/** Adds 1 to each of `extent` i32, as one shared part; traps at the one whose number is `trap`. */
function counting(device: Device, extent: number, trap = -1): Artifact {
  const shared = device.hardware.sharedMemory === true;
  const module = wasmModule();
  module.importMemory("env", "memory", shared ? { min: 1, max: 65536, shared } : { min: 1 });
  const part = module.fn(
    ["i32", "i32", "i32"],
    [],
    (f, address, begin, end) => {
      const loop = f.loop();
      f.get(begin);
      f.i32(trap);
      f.op("i32.eq");
      f.if();
      f.unreachable();
      f.end();
      f.get(address);
      f.get(begin);
      f.i32(4);
      f.op("i32.mul");
      f.op("i32.add");
      const place = f.local("i32");
      f.tee(place);
      f.get(place);
      f.op("i32.load", 0);
      f.i32(1);
      f.op("i32.add");
      f.op("i32.store", 0);
      f.get(begin);
      f.i32(1);
      f.op("i32.add");
      f.tee(begin);
      f.get(end);
      f.op("i32.lt_u");
      f.brIf(loop);
      f.end();
    },
    { name: "part", export: "part0" },
  );
  module.fn(
    ["i32"],
    [],
    (f, address) => {
      f.get(address);
      f.i32(0);
      f.i32(extent);
      f.call(part);
    },
    { name: "counting", export: "run" },
  );
  module.note(partsSection, JSON.stringify([[extent, extent]]));
  return { codegen: "wasm-simd", name: "counting", code: module.bytes(), scratchBytes: 0 };
}

const launch = async (device: Device, artifact: Artifact, to: Region): Promise<Command> => ({
  kind: "launch",
  executable: await device.load(artifact),
  regions: [to],
  scalars: [],
});

for (const threads of [1, 2, 3])
  test(`large and small work keeps its order, ${threads} threads`, async () => {
    const device = await open(threads, { grain: 64 });
    const [large, small] = [region(device, 40000), region(device, 8)];
    bytesOf(large).fill(0);
    bytesOf(small).fill(0);
    const [more, few] = [
      await launch(device, counting(device, 10000), large),
      await launch(device, counting(device, 2), small),
    ];
    const copy: Command = { kind: "copy", from: { ...large, bytes: 4 }, to: { ...small, offset: 4, bytes: 4 } };
    let last = 0;
    for (let round = 0; round < 200; round++) {
      device.submit("compute", [more], [], at(++last));
      device.submit("compute", [few], [], at(++last));
      device.submit(
        "compute",
        round % 3 === 0 ? [more, copy, few] : [copy],
        last > 2 ? [at(last - 1)] : [],
        at(++last),
      );
      if (round % 50 === 49) await device.wait(at(last));
    }
    await device.wait(at(last));
    assert.equal(device.poll(at(last)), BigInt(last));
    const done = 200 + 67;
    assert.deepEqual(new Set(new Int32Array(bytesOf(large).slice().buffer)), new Set([done]));
    // The last round ends with a copy.
    assert.deepEqual([...new Int32Array(bytesOf(small).slice().buffer)], [done, done]);
    await device.close();
  });

test("a submission larger than the queue goes in parts", async () => {
  const device = await open(2);
  const to = region(device, 256);
  bytesOf(to).fill(0);
  const one = await launch(device, counting(device, 64), to);
  device.submit("compute", new Array<Command>(20000).fill(one), [], at(1));
  device.submit("compute", [one], [], at(2));
  await device.wait(at(2));
  assert.deepEqual(new Set(new Int32Array(bytesOf(to).slice().buffer)), new Set([20001]));
  await device.close();
});

test("more submissions at once than have numbers", async () => {
  const device = await open(2);
  const to = region(device, 4000);
  bytesOf(to).fill(0);
  const one = await launch(device, counting(device, 1000), to);
  for (let i = 1; i <= 500; i++) device.submit("compute", [one], i > 1 ? [at(i - 1)] : [], at(i));
  await device.wait(at(500));
  assert.deepEqual(new Set(new Int32Array(bytesOf(to).slice().buffer)), new Set([500]));
  await device.close();
});

/** Does nothing, in parts of no iterations and of no work. */
function idle(): Artifact {
  const module = wasmModule();
  for (const part of ["part0", "part1"]) module.fn(["i32", "i32", "i32"], [], () => {}, { name: part, export: part });
  module.fn(["i32"], [], () => {}, { name: "idle", export: "run" });
  module.note(
    partsSection,
    JSON.stringify([
      [0, 0],
      [5, 0],
    ]),
  );
  return { codegen: "wasm-simd", name: "idle", code: module.bytes(), scratchBytes: 0 };
}

for (const threads of [2, 3])
  test(`what has nothing to do is done in its turn, ${threads} threads`, async () => {
    const device = await open(threads);
    try {
      const to = region(device, 4000);
      bytesOf(to).fill(0);
      const [one, none] = [
        await launch(device, counting(device, 1000), to),
        await launch(device, idle(), { ...to, bytes: 0 }),
      ];
      const empty = { ...to, bytes: 0 };
      const nothing: Command[] = [
        { kind: "copy", from: empty, to: { ...empty, offset: 8 } },
        { kind: "fill", to: empty, byte: 1 },
        none,
      ];
      // Behind others, so that workers have it, and with others behind it: alone, in the middle, at the end.
      const all = [[one], ...nothing.map((c) => [c]), [one, ...nothing, one], [...nothing, one], [one, ...nothing], []];
      all.forEach((commands, i) => device.submit("compute", commands, [], at(i + 1)));
      await device.wait(at(all.length), 20_000);
      assert.deepEqual(new Set(new Int32Array(bytesOf(to).slice().buffer)), new Set([5]));
    } finally {
      await device.close();
    }
  });

test("who only polls sees all done that was submitted", async () => {
  const device = await open(2);
  try {
    const to = region(device, 256);
    bytesOf(to).fill(0);
    const one = await launch(device, counting(device, 64), to);
    device.submit("compute", new Array<Command>(100).fill(one), [], at(1));
    await device.wait(at(1));
    // More submissions than have numbers, then more steps than have room.
    for (let i = 2; i < 200; i++) device.submit("compute", [one], [], at(i));
    device.submit("compute", new Array<Command>(9000).fill(one), [], at(200));
    const until = performance.now() + 20_000;
    while (device.poll(at(200)) < 200n) assert.ok(performance.now() < until, `stands still at ${device.poll(at(200))}`);
    assert.deepEqual(new Set(new Int32Array(bytesOf(to).slice().buffer)), new Set([100 + 198 + 9000]));
  } finally {
    await device.close();
  }
});

test("a trap in a worker fails its fence and what depends on it, nothing else", async () => {
  const device = await open(2);
  const to = region(device, 4000);
  bytesOf(to).fill(0);
  const [bad, good] = [
    await launch(device, counting(device, 1000, 700), to),
    await launch(device, counting(device, 1000), to),
  ];
  device.submit("compute", [good, bad, good], [], at(1));
  device.submit("compute", [good], [at(1)], at(2));
  device.submit("compute", [good], [], at(3));
  const isTrap = (error: unknown) =>
    error instanceof KernelError && /kernel counting trapped: unreachable/.test(error.message);
  await assert.rejects(device.wait(at(1)), isTrap);
  await assert.rejects(device.wait(at(2)), isTrap);
  assert.throws(() => device.poll(at(2)), isTrap);
  await device.wait(at(3));
  device.submit("compute", [good], [], at(4));
  await device.wait(at(4));
  await device.close();
});

test("a trap in a worker is a typed error at each read of what depended on it, and at no other", async () => {
  const trapping: typeof wasmCodegen = {
    ...wasmCodegen,
    level: "graph",
    render() {
      const module = wasmModule();
      module.importMemory("env", "memory", hardware.sharedMemory ? { min: 1, max: 65536, shared: true } : { min: 1 });
      const part = module.fn(["i32", "i32", "i32", "i32"], [], (f) => f.unreachable(), {
        name: "part",
        export: "part0",
      });
      const whole = { name: "whole", export: "run" };
      const run = (f: FunctionBody, a: number, b: number): void => {
        f.get(a);
        f.get(b);
        f.i32(0);
        f.i32(1000);
        f.call(part);
      };
      module.fn(["i32", "i32"], [], run, whole);
      module.note(partsSection, JSON.stringify([[1000, 1000]]));
      return { codegen: wasmCodegen.name, name: "trapping", code: module.bytes(), scratchBytes: 0 };
    },
  };
  const hardware = await device("cpu", { options: { threads: 2, grain: 1 } });
  const good = jit((x: Tensor) => x.add(1));
  const x = tensor([1, 2]);
  const before = good(x);
  await before.data();
  register({ codegen: trapping });
  let failed: Tensor;
  try {
    failed = jit((x: Tensor) => x.mul(3))(x);
    await assert.rejects(failed.data(), /trapping trapped: unreachable/);
  } finally {
    register({ codegen: wasmCodegen });
  }
  for (const t of [failed, failed, failed.add(1)])
    await assert.rejects(t.data(), (error: unknown) => error instanceof KernelError && /trapping/.test(error.message));
  assert.deepEqual(await good(before).toArray(), [3, 4]);
});

test("errors found while commands are read fail the submission in its turn", async () => {
  const device = await open(2);
  const to = region(device, 4000);
  const good = await launch(device, counting(device, 1000), to);
  device.submit("compute", [good], [], at(1));
  device.submit("compute", [{ kind: "collective", op: "sum", regions: [] }], [], at(2));
  device.submit("compute", [good, { kind: "fill", to: { ...to, bytes: 5000 }, byte: 0 }], [], at(3));
  device.submit("compute", [], [], at(4));
  await device.wait(at(4));
  await assert.rejects(device.wait(at(2)), /no command collective/);
  await assert.rejects(device.wait(at(3)), /outside of a memory/);
  await device.close();
});

test("memory that grows or is given back while workers run", async () => {
  const device = await open(2);
  let last = 0;
  const held: Region[] = [];
  for (let i = 0; i < 40; i++) {
    const big = region(device, 2 ** 20 + i * 2 ** 16);
    device.submit("compute", [{ kind: "fill", to: big, byte: i }], [], at(++last));
    const copy = region(device, big.bytes);
    device.submit("compute", [{ kind: "copy", from: big, to: copy }], [], at(++last));
    device.free(big.memory);
    const staging = { memory: device.alloc(big.bytes, "host"), offset: 0, bytes: big.bytes };
    bytesOf(staging).fill(255);
    held.push(copy);
  }
  await device.wait(at(last));
  for (const [i, copy] of held.entries())
    assert.ok(
      bytesOf(copy).every((b) => b === i),
      `copy ${i}`,
    );
  await device.close();
});

test("overlapping copies move as if at once", async () => {
  const device = await open(3);
  const to = region(device, 100000);
  bytesOf(to).forEach((_, i, all) => {
    all[i] = i % 251;
  });
  const part = (offset: number): Region => ({ ...to, offset, bytes: 99936 });
  device.submit("compute", [{ kind: "copy", from: part(0), to: part(64) }], [], at(1));
  await device.wait(at(1));
  assert.ok(bytesOf(to).every((b, i) => b === (i < 64 ? i : i - 64) % 251));
  await device.close();
});

test("a closed device ends its workers and fails what they had", async () => {
  const device = await open(2);
  const to = region(device, 4000);
  const one = await launch(device, counting(device, 1000), to);
  for (let i = 1; i < 100; i++) device.submit("compute", [one], [], at(i));
  const waited = device.wait(at(99));
  await Promise.all([device.close(), waited.catch((e: unknown) => assert.match(String(e), /closed/))]);
});

test("without shared memory there is one thread", async () => {
  const device = await open(2, { shared: false });
  assert.equal(device.hardware.threads, 1);
  const to = region(device, 4000);
  bytesOf(to).fill(0);
  device.submit("compute", [await launch(device, counting(device, 1000), to)], [], at(1));
  assert.equal(device.poll(at(1)), 1n);
  await device.close();
});

const unshared = typeof SharedArrayBuffer === "undefined" && "there is no shared memory";
test("the queue has room again when steps are done", { skip: unshared }, () => {
  const queue = new TaskQueue();
  const words = new Int32Array(queue.control);
  const task = {
    kind: 2,
    extent: 0,
    chunks: 1,
    args: new Array<number>(500).fill(0),
    memories: [],
    submission: 0,
    kernel: 0,
    part: 0,
    code: 0,
    codeBytes: 0,
  };
  let count = 0;
  while (queue.put(task)) count++;
  assert.ok(count > 100 && count < 4096, `${count} steps of 500 numbers`);
  const last = queue.publish();
  assert.ok(!queue.isDone(last));
  Atomics.store(words, 2, last + 1);
  assert.ok(queue.isDone(last));
  let again = 0;
  while (queue.put(task)) again++;
  assert.ok(Math.abs(again - count) <= 1);
  for (const chunks of [0, 2 ** 16, Number.NaN])
    assert.throws(() => queue.put({ ...task, chunks }), /1 to 65535 chunks/);
});

test("sums, products and softmax have the same bits for any number of threads", async () => {
  const step = jit((x: Tensor, w: Tensor) => {
    const h = matmul(x, w).tanh();
    return [h.softmax(), h.sum(0), matmul(h.transpose(), h), x.mean(1).exp(), w.reshape([-1]).sum()];
  });
  const bits: string[] = [];
  for (const threads of [1, 2, 3]) {
    await device("cpu", { options: { threads, grain: 1 } });
    const results = step(random.normal(key(1), [131, 67]), random.normal(key(2), [67, 93]));
    const data = await Promise.all(results.map((t) => t.data()));
    bits.push(data.map((d) => String(new Uint32Array((d as Float32Array).slice().buffer))).join());
  }
  assert.equal(bits[1], bits[0]);
  assert.equal(bits[2], bits[0]);
});

test("the time of a chunk is told when its step is done, never while a thread is about to write it", {
  skip: unshared,
}, () => {
  const queue = new TaskQueue();
  const words = new Int32Array(queue.control, 0, layout.words);
  const times = new Float64Array(queue.control, layout.numbersAt, layout.numbers);
  const place = Atomics.add(words, layout.traced, 1);
  assert.deepEqual(queue.spans(), [], "nothing is written there yet");
  times.set([7, 0, 0, 1, 10, 12], layout.spansAt + place * layout.spanFields);
  assert.deepEqual(queue.spans(), [], "other threads may still be at the step");

  const fill = {
    kind: 2,
    extent: 0,
    chunks: 1,
    args: [0, 0],
    memories: [],
    submission: 0,
    kernel: 8,
    part: 0,
    code: 0,
    codeBytes: 0,
  };
  queue.put(fill);
  const step = queue.publish();
  queue.tracing = true;
  // Serves until it hears of a memory that it was not sent.
  const math = {};
  let told = 0;
  const serve = serving(layout, field, math, () => {
    if (++told === 2) queue.announce(1);
  });
  serve({ memories: [], control: queue.control });
  assert.ok(queue.isDone(step));
  const spans = queue.spans();
  assert.deepEqual(
    spans.map(({ kernel }) => kernel),
    [7, 8],
  );
  assert.deepEqual([spans[0]?.begin, spans[0]?.end], [10, 12]);
  assert.ok((spans[1]?.begin ?? 0) > Date.now() - 60_000);
  assert.deepEqual(queue.spans(), [], "each is told once");
});
