import assert from "node:assert/strict";
import { setImmediate as macrotask } from "node:timers/promises";
import { test } from "node:test";
import fc from "fast-check";
import {
  ArgumentError,
  decode,
  type Device,
  DeviceError,
  DeviceLostError,
  encode,
  type Fence,
  graphCodegen,
  KernelError,
  OutOfMemoryError,
  parse,
  type Region,
  valueOf,
} from "sinan/south";
import { simDriver } from "./index.ts";
import type { SimOptions } from "./options.ts";

const open = (options: SimOptions = {}): Promise<Device> => simDriver.open("sim", { ...options });
const at = (timeline: number, value: bigint): Fence => ({ timeline, value });
const fill = (to: Region, byte: number) => ({ kind: "fill", to, byte }) as const;
const copy = (from: Region, to: Region) => ({ kind: "copy", from, to }) as const;

function region(device: Device, bytes: number, space: "host" | "device" = "device"): Region {
  return { memory: device.alloc(bytes, space), offset: 0, bytes };
}

/** A region of host memory with these bytes. */
function staging(device: Device, bytes: Uint8Array): Region {
  const to = region(device, bytes.length, "host");
  to.memory.view?.().set(bytes);
  return to;
}

const negate = parse('fn @negate(%0 "x": f32[4]) {\n%1 = neg(%0) : f32[4]\nreturn %1\n}');
const load = async (device: Device) => device.load(graphCodegen.render(negate, device.hardware));

test("data goes up, through a kernel and down by copies; device memory cannot be seen", async () => {
  const device = await open();
  const [up, x, y, down] = [
    staging(device, encode(valueOf("f32", [4], [1, -2, 3, 0]))),
    region(device, 16),
    region(device, 16),
    region(device, 16, "host"),
  ];
  assert.equal("view" in x.memory, false);
  const executable = await load(device);
  device.submit(
    "compute",
    [copy(up, x), { kind: "launch", executable, regions: [x, y], scalars: [] }, copy(y, down)],
    [],
    at(0, 1n),
  );
  await device.wait(at(0, 1n));
  assert.deepEqual([...decode("f32", down.memory.view?.() ?? new Uint8Array(), [4]).data], [-1, 2, -3, -0]);
});

test("nothing is done by the time submit returns, nor in microtasks; fresh memory is not zero", async () => {
  const device = await open();
  const out = region(device, 1, "host");
  assert.notEqual(out.memory.view?.()[0], 0);
  device.submit("compute", [fill(out, 7)], [], at(0, 1n));
  for (let i = 0; i < 100; i++) await Promise.resolve();
  assert.equal(device.poll(at(0, 1n)), 0n);
  assert.notEqual(out.memory.view?.()[0], 7);
  await device.wait(at(0, 1n));
  assert.deepEqual([device.poll(at(0, 1n)), out.memory.view?.()[0]], [1n, 7]);
});

test("two queues overtake each other, differently for each seed, the same for the same", async () => {
  const orders = new Map<number, string>();
  for (const seed of [1, 2, 3, 4, 1]) {
    const device = await open({ seed });
    const out = region(device, 1);
    const order: string[] = [];
    for (const queue of ["compute", "copy"] as const)
      for (let i = 1n; i <= 6n; i++) {
        const fence = at(queue === "copy" ? 1 : 0, i);
        device.submit(queue, [fill(out, 0), fill(out, 1)], [], fence);
        device.wait(fence).then(
          () => order.push(`${queue[1]}${i}`),
          () => {},
        );
      }
    await Promise.all([device.wait(at(0, 6n)), device.wait(at(1, 6n))]);
    await macrotask();
    assert.equal(orders.get(seed) ?? order.join(), order.join());
    orders.set(seed, order.join());
  }
  assert.ok(new Set(orders.values()).size > 1, [...orders.values()].join("\n"));
});

test("whatever the seed, queues run in order and fences are honoured", async () => {
  const program = fc.array(
    fc.tuple(fc.constantFrom("compute", "copy"), fc.array(fc.nat(30), { maxLength: 3 }), fc.nat(3)),
    { minLength: 1, maxLength: 25 },
  );
  await fc.assert(
    fc.asyncProperty(program, fc.nat(), async (steps, seed) => {
      const device = await open({ seed });
      const executed: number[] = [];
      const signals = steps.map((_, i) => at(i, 1n));
      steps.forEach(([queue, after, commands], i) => {
        const out = region(device, 64);
        device.submit(
          queue,
          Array.from({ length: commands }, () => fill(out, i)),
          after.filter((j) => j < i).map((j) => at(j, 1n)),
          signals[i] as Fence,
        );
        device.wait(signals[i] as Fence).then(
          () => executed.push(i),
          () => {},
        );
      });
      await Promise.all(signals.map((s) => device.wait(s)));
      await macrotask();
      const place = (i: number) => executed.indexOf(i);
      assert.equal(executed.length, steps.length);
      steps.forEach(([queue, after], i) => {
        for (const j of after) if (j < i) assert.ok(place(j) < place(i), `${i} waited for ${j}`);
        for (let j = 0; j < i; j++)
          if (steps[j]?.[0] === queue) assert.ok(place(j) < place(i), `${j} stood before ${i} in ${queue}`);
      });
    }),
    { numRuns: 40 },
  );
});

test("a submission sees what the one it waits for wrote, on the other queue", async () => {
  for (let seed = 0; seed < 20; seed++) {
    const device = await open({ seed });
    const [x, down] = [region(device, 4), region(device, 4, "host")];
    device.submit("copy", [copy(x, down)], [at(0, 1n)], at(1, 1n));
    device.submit("compute", [fill(x, 1), fill(x, 2), fill(x, 9)], [], at(0, 1n));
    await device.wait(at(1, 1n));
    assert.deepEqual([...(down.memory.view?.() ?? [])], [9, 9, 9, 9]);
  }
});

test("memory runs out at the budget, and comes back when it is freed", async () => {
  const device = await open({ memoryBytes: 1000 });
  assert.equal(device.hardware.limits.maxBytes, 1000);
  const first = device.alloc(600, "device");
  assert.throws(() => device.alloc(401, "device"), OutOfMemoryError);
  device.alloc(5000, "host");
  device.free(first);
  device.alloc(1000, "device");
  assert.throws(() => device.free(first), /after it was freed/);
});

test("a lost device says so, and rejects what is under way and what comes", async () => {
  const device = await open({ loseAfter: 3 });
  const out = region(device, 4);
  device.submit("compute", [fill(out, 1), fill(out, 2)], [], at(0, 1n));
  device.submit("compute", [fill(out, 3), fill(out, 4)], [], at(0, 2n));
  device.submit("copy", [], [at(0, 2n)], at(1, 1n));
  await device.wait(at(0, 1n));
  await assert.rejects(device.wait(at(0, 2n)), DeviceLostError);
  await assert.rejects(device.wait(at(1, 1n)), DeviceLostError);
  assert.match((await device.lost).reason, /lost after 3 commands/);
  device.submit("compute", [fill(out, 1)], [], at(0, 3n));
  await assert.rejects(device.wait(at(0, 3n)), DeviceLostError);
  await assert.rejects(device.wait(at(5, 1n)), DeviceLostError);
  assert.throws(() => device.alloc(1, "device"), DeviceLostError);
  await assert.rejects(load(device), DeviceLostError);
});

test("the launch that was told to fail fails, with what depends on it, and no other", async () => {
  const device = await open({ failLaunch: 2 });
  const executable = await load(device);
  const [x, y] = [region(device, 16), region(device, 16)];
  const launch = { kind: "launch", executable, regions: [x, y], scalars: [] } as const;
  device.submit("compute", [launch], [], at(0, 1n));
  device.submit("compute", [launch], [], at(0, 2n));
  device.submit("copy", [copy(x, y)], [at(0, 2n)], at(1, 1n));
  device.submit("compute", [launch], [at(0, 1n)], at(0, 3n));
  await device.wait(at(0, 1n));
  await assert.rejects(device.wait(at(0, 2n)), KernelError);
  await assert.rejects(device.wait(at(1, 1n)), /launch 2 failed/);
  assert.throws(() => device.poll(at(1, 1n)), KernelError);
  await device.wait(at(0, 3n));
});

test("misuse that real hardware would not forgive is told", async () => {
  const device = await open({ aliasing: false });
  const [x, other] = [region(device, 128), region(await open(), 64)];
  const executable = await load(device);
  const gone = region(device, 64);
  device.free(gone.memory);
  const launch = (...regions: Region[]) => ({ kind: "launch", executable, regions, scalars: [] }) as const;
  const faults = [
    [fill(other, 0), /another device/],
    [fill(gone, 0), /after it was freed/],
    [fill({ ...x, offset: 1, bytes: 1 }, 0), /does not fit/],
    [fill({ ...x, offset: 64, bytes: 65 }, 0), /does not fit/],
    [copy({ ...x, bytes: 64 }, { ...x, offset: 64, bytes: 32 }), /a copy of 64 bytes into 32/],
    [launch(x, x), /an output lies on another region/],
    [launch(x), /expected 1 inputs, 1 outputs/],
    [launch(x, { ...x, offset: 64, bytes: 8 }), /does not fit|lies on/],
  ] as const;
  for (const [i, [command, message]] of faults.entries()) {
    device.submit("compute", [command], [], at(i, 1n));
    await assert.rejects(device.wait(at(i, 1n)), (e) => e instanceof DeviceError && message.test(e.message));
  }
});

test("memory freed behind submitted work serves that work still", async () => {
  const device = await open();
  const [x, down] = [region(device, 4), region(device, 4, "host")];
  device.submit("compute", [fill(x, 5), copy(x, down)], [], at(0, 1n));
  device.free(x.memory);
  await device.wait(at(0, 1n));
  assert.equal(down.memory.view?.()[3], 5);
});

test("latency, options, closing", async () => {
  const device = await open({ latencyMs: 30 });
  const out = region(device, 4, "host");
  const from = performance.now();
  device.submit("compute", [fill(out, 1)], [], at(0, 1n));
  await assert.rejects(device.wait(at(0, 1n), 1), /has not passed after 1 ms/);
  await device.close();
  assert.ok(performance.now() - from >= 29);
  assert.equal(out.memory.view?.()[0], 1);
  await assert.rejects(device.wait(at(0, 2n)), DeviceLostError);
  await assert.rejects(simDriver.open("sim", { bugdet: 3 }), ArgumentError);
  await assert.rejects(simDriver.open("sim", { seed: "x" }), /seed should be a number/);
  await assert.rejects(simDriver.open("sim:7"), DeviceError);
});
