import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ArgumentError,
  type Artifact,
  build,
  type Command,
  type Device,
  DeviceError,
  DeviceLostError,
  KernelError,
  makeFn,
  newScope,
  OutOfMemoryError,
  type Region,
  tensorType,
  within,
} from "sinan/south";
import { maxPages, newArena, newMemory } from "./arena.ts";
import { newSharedMemory } from "./shared-memory.ts";
import { cpuDriver, wasmCodegen } from "./index.ts";
import { wasmModule } from "./wasm/assembler.ts";

const open = (shared = true): Promise<Device> => cpuDriver.open("cpu", { shared });
const bytesOf = (region: Region): Uint8Array =>
  region.memory.view?.().subarray(region.offset, region.offset + region.bytes) ?? new Uint8Array();
const region = (device: Device, bytes: number): Region => ({ memory: device.alloc(bytes, "device"), offset: 0, bytes });
const at = (value: number, timeline = 0) => ({ timeline, value: BigInt(value) });

/** out[i] = in[i] + 1 over 16 f32. */
function increment(device: Device): Artifact {
  const kernel = within(newScope(), () => {
    const [x, y] = [param(0), param(1)] as const;
    const i = build.build("range", [], { id: 0, extent: 16, kind: "loop" });
    const store = build.build("store", [y, i, build.add(build.build("load", [x, i], {}), build.scalar(1, "f32"))], {});
    return makeFn("increment", [x, y], [build.build("kernel", [build.build("nest", [store], { order: [0] })], {})]);
  });
  return wasmCodegen.render(kernel, device.hardware);
}
const param = (index: number) => build.build("param", [], { index, name: `p${index}`, type: tensorType("f32", [16]) });

/** A kernel that traps. */
function trapping(): Artifact {
  const module = wasmModule();
  module.fn([], [], (f) => f.unreachable(), { name: "bad", export: "run" });
  return { codegen: "wasm-simd", name: "bad", code: module.bytes(), scratchBytes: 0 };
}

for (const shared of [true, false]) {
  test(`kernels, copies and fills run in order, ${shared ? "shared" : "unshared"} memory`, async () => {
    const device = await open(shared);
    // A page that is not isolated has none to share.
    assert.equal(device.hardware.sharedMemory, shared && typeof SharedArrayBuffer === "function");
    const [a, b, c] = [region(device, 64), region(device, 64), region(device, 64)];
    const executable = await device.load(increment(device));
    const big = device.alloc(64 * 2 ** 20, "device");
    new Float32Array(bytesOf(a).buffer, bytesOf(a).byteOffset, 16).fill(2.5);
    const launch = (from: Region, to: Region): Command => ({
      kind: "launch",
      executable,
      regions: [from, to],
      scalars: [],
    });
    device.submit(
      "compute",
      [
        launch(a, b),
        launch(b, c),
        { kind: "copy", from: { ...c, bytes: 32 }, to: { ...a, offset: 0, bytes: 32 } },
        { kind: "fill", to: b, byte: 0 },
      ],
      [],
      at(1),
    );
    await device.wait(at(1));
    assert.equal(device.poll(at(1)), 1n);
    const floats = (r: Region) => [...new Float32Array(bytesOf(r).slice().buffer)];
    assert.deepEqual(floats(a), [...new Array<number>(8).fill(4.5), ...new Array<number>(8).fill(2.5)]);
    assert.deepEqual(floats(b), new Array<number>(16).fill(0));
    device.free(big);
    await device.close();
  });
}

test("work waits for its fences, in any order of submission", async () => {
  const device = await open();
  const r = region(device, 64);
  const fill = (byte: number): Command => ({ kind: "fill", to: r, byte });
  device.submit("compute", [fill(3)], [at(2, 5)], at(1));
  device.submit("compute", [fill(4)], [], at(2));
  assert.equal(device.poll(at(1)), 0n);
  await assert.rejects(device.wait(at(1), 5), /fence 0:1 has not passed after 5 ms/);
  const waited = device.wait(at(2));
  device.submit("copy", [fill(2)], [], at(2, 5));
  await waited;
  assert.equal(device.poll(at(2)), 2n);
  assert.equal(bytesOf(r)[0], 4);
});

test("a trap fails its fence and what depends on it, nothing else", async () => {
  const device = await open();
  const executable = await device.load(trapping());
  const launch: Command = { kind: "launch", executable, regions: [], scalars: [] };
  device.submit("compute", [launch], [], at(1));
  device.submit("compute", [], [at(1)], at(2));
  device.submit("compute", [], [], at(3));
  const isTrap = (error: unknown) => error instanceof KernelError && /kernel bad trapped/.test(error.message);
  await assert.rejects(device.wait(at(1)), isTrap);
  await assert.rejects(device.wait(at(2)), isTrap);
  assert.throws(() => device.poll(at(2)), isTrap);
  await device.wait(at(3));
  assert.equal(device.poll(at(3)), 3n);
});

test("code that is not its own, or not code, is refused", async () => {
  const device = await open();
  const artifact = increment(device);
  await assert.rejects(device.load({ ...artifact, codegen: "wgsl" }), DeviceError);
  await assert.rejects(device.load({ ...artifact, code: "text" }), DeviceError);
  await assert.rejects(
    device.load({ ...artifact, code: Uint8Array.of(0, 97, 115, 109, 9) }),
    /kernel increment is refused/,
  );
  const empty = wasmModule().bytes();
  await assert.rejects(device.load({ ...artifact, code: empty }), /exports no function/);
  await assert.rejects(cpuDriver.open("cpu:7"), DeviceError);
  await assert.rejects(cpuDriver.open("cpu", { shared: 1 }), DeviceError);
});

test("wrong regions fail the submission with the reason", async () => {
  const device = await open();
  const other = await open();
  const executable = await device.load(increment(device));
  const [a, b] = [region(device, 64), region(device, 64)];
  const failures: [Command, RegExp][] = [
    [{ kind: "launch", executable, regions: [a], scalars: [] }, /takes 2 regions and scalars, got 1 and 0/],
    [{ kind: "launch", executable, regions: [a, { ...b, offset: 32 }], scalars: [] }, /outside of a memory of 64/],
    [{ kind: "launch", executable, regions: [a, region(other, 64)], scalars: [] }, /another device/],
    [{ kind: "launch", executable: { name: "x" }, regions: [], scalars: [] }, /another device/],
    [{ kind: "copy", from: { ...a, bytes: 8 }, to: b }, /8 bytes into 64/],
    [{ kind: "collective", op: "sum", regions: [] }, /no command collective/],
  ];
  for (const [i, [command, message]] of failures.entries()) {
    device.submit("compute", [command], [], at(i + 1));
    await assert.rejects(device.wait(at(i + 1)), message);
  }
  device.free(a.memory);
  assert.throws(() => device.free(a.memory), ArgumentError);
  device.submit("compute", [{ kind: "fill", to: a, byte: 0 }], [], at(20));
  await assert.rejects(device.wait(at(20)), /freed/);
});

test("a closed device takes no work, and fails what still waited", async () => {
  const device = await open();
  device.submit("compute", [], [at(1, 9)], at(1));
  const waited = device.wait(at(1));
  await device.close();
  await assert.rejects(waited, DeviceLostError);
  assert.throws(() => device.alloc(8, "device"), DeviceError);
  assert.throws(() => device.submit("compute", [], [], at(2)), DeviceError);
  await device.close();
});

test("blocks are aligned, apart, reused and joined again", () => {
  const arena = newArena(newMemory(maxPages));
  const before = arena.memory.buffer.byteLength;
  let seed = 1;
  const random = (n: number) => ((seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fff_ffff) >> 8) % n;
  const live = new Map<number, number>();
  for (let step = 0; step < 3000; step++) {
    if (live.size < 40 && random(3) > 0) {
      const bytes = random(5000);
      const offset = arena.take(bytes);
      assert.equal(offset % 64, 0);
      assert.ok(offset >= 64 && offset + bytes <= arena.memory.buffer.byteLength);
      for (const [o, n] of live) assert.ok(offset + Math.max(bytes, 1) <= o || o + Math.max(n, 1) <= offset);
      live.set(offset, bytes);
    } else if (live.size > 0) {
      const offset = [...live.keys()][random(live.size)] as number;
      live.delete(offset);
      arena.give(offset);
    }
  }
  for (const offset of live.keys()) arena.give(offset);
  assert.equal(arena.memory.buffer.byteLength, before, "40 blocks of 5 000 bytes fit into what there was");
  assert.equal(arena.take(before - 64), 64, "all of it is one block again");
});

test("memory grows until there is no more, and then says so", () => {
  const arena = newArena(newSharedMemory(maxPages));
  const first = arena.take(2 ** 21);
  assert.ok(arena.bytes().length >= first + 2 ** 21);
  assert.throws(
    () => arena.take(2 ** 32),
    (e: unknown) =>
      e instanceof OutOfMemoryError && /4294967296 more bytes do not fit: 2097728 bytes are taken/.test(e.message),
  );
  arena.give(first);
  assert.equal(arena.take(100), first);
});
