/** Several memories: what does not fit into one lies in others, and kernels reach all of them. Arenas of a megabyte here. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { device, grad, jit, key, matmul, memory, random, type Tensor } from "sinan";
import {
  type Artifact,
  build,
  type Command,
  type Device,
  makeFn,
  newScope,
  OutOfMemoryError,
  type Region,
  tensorType,
  within,
} from "sinan/south";
import { ownBytes } from "./arena.ts";
import { newSharedMemory } from "./shared-memory.ts";
import { Arenas, type CpuMemory } from "./arenas.ts";
import { cpuDriver, wasmCodegen } from "./index.ts";

const arenaBytes = 2 ** 20;
const at = (value: number) => ({ timeline: 0, value: BigInt(value) });
const region = (on: Device, bytes: number): Region => ({ memory: on.alloc(bytes, "device"), offset: 0, bytes });
const floats = ({ memory, bytes }: Region): Float32Array => {
  const view = memory.view?.() ?? new Uint8Array();
  return new Float32Array(view.buffer, view.byteOffset, bytes / 4);
};
const arenaOf = ({ memory }: Region): number => (memory as CpuMemory).arena.index;

type Pair = readonly [Region, Region];

const count = 60000;

/** out[i] = 2·x[i] + y[i] */
function doubleAndAdd(on: Device): Artifact {
  const param = (index: number) =>
    build.build("param", [], { index, name: `p${index}`, type: tensorType("f32", [count]) });
  const kernel = within(newScope(), () => {
    const [x, y, z] = [param(0), param(1), param(2)] as const;
    const i = build.build("range", [], { id: 0, extent: count, kind: "parallel" });
    const load = (p: typeof x) => build.build("load", [p, i], {});
    const sum = build.add(build.mul(load(x), build.scalar(2, "f32")), load(y));
    const nest = build.build("nest", [build.build("store", [z, i, sum], {})], { order: [0] });
    return makeFn("doubleAndAdd", [x, y, z], [build.build("kernel", [nest], {})]);
  });
  return wasmCodegen.render(kernel, on.hardware);
}

for (const shared of [true, false])
  for (const threads of shared ? [1, 2] : [1])
    for (const reach of ["one module over all", "copies"] as const)
      test(`a kernel whose buffers lie in several arenas: ${reach}, ${threads} threads, ${shared ? "" : "un"}shared`, async () => {
        const on = await cpuDriver.open("cpu", { shared, threads, arenaBytes, grain: 1 });
        const { apart, ...alone } = doubleAndAdd(on);
        const executable = await on.load(reach === "copies" || !apart ? alone : { ...alone, apart });
        const launch = (...regions: Region[]): Command => ({ kind: "launch", executable, regions, scalars: [] });
        // Two in each of four arenas, and room for two more.
        const fillers: Region[] = [];
        const all = Array.from({ length: 4 }, () => {
          const pair = [region(on, 4 * count), region(on, 4 * count)] as const;
          fillers.push(region(on, 8 * count));
          return pair;
        });
        assert.deepEqual(
          all.map(([a, b]) => [arenaOf(a), arenaOf(b)]),
          [0, 1, 2, 3].map((n) => [n, n]),
        );
        for (const { memory } of fillers) on.free(memory);
        const [[a, b], [c, d], [e], [f, g]] = all as [Pair, Pair, Pair, Pair];
        floats(a).forEach((_, i, x) => (x[i] = i));
        on.submit(
          "compute",
          [
            { kind: "fill", to: b, byte: 0 },
            { kind: "copy", from: b, to: c },
          ],
          [],
          at(1),
        );
        await on.wait(at(1));
        floats(d).fill(5);
        on.submit("compute", [launch(a, c, e), launch(e, d, f), launch(a, f, a), launch(f, f, f)], [], at(2));
        on.submit("compute", [{ kind: "copy", from: { ...f, bytes: 64 }, to: { ...g, bytes: 64 } }], [], at(3));
        on.submit("compute", [{ kind: "copy", from: { ...g, bytes: 64 }, to: { ...b, bytes: 64 } }], [], at(4));
        await on.wait(at(4));
        assert.ok(floats(e).every((v, i) => v === 2 * i));
        assert.ok(floats(a).every((v, i) => v === 2 * i + 4 * i + 5));
        assert.ok(floats(f).every((v, i) => v === 3 * (4 * i + 5)));
        assert.deepEqual([...floats(b).subarray(0, 17)], [...floats(f).subarray(0, 16), 0]);
        await on.close();
      });

test("an arena is opened when those before it are full, and none beyond the limit", () => {
  let added = 0;
  const arenas = new Arenas({ newMemory: newSharedMemory, arenaBytes, mostBytes: 2.5 * arenaBytes }, () => added++);
  const take = (): CpuMemory => arenas.take(600_000, "device");
  assert.deepEqual(
    [take(), take()].map(({ arena }) => arena.index),
    [0, 1],
  );
  assert.equal(added, 1);
  assert.throws(take, OutOfMemoryError);
  assert.equal(arenas.take(300_000, "device").arena.index, 0, "the first gap");
  assert.throws(() => arenas.take(arenaBytes, "device"), OutOfMemoryError);
  const fresh = new Arenas({ newMemory: newSharedMemory, arenaBytes, mostBytes: 2 * arenaBytes }, () => {});
  assert.equal(fresh.take(arenaBytes - ownBytes, "device").arena.index, 0, "the longest block");
  assert.equal(added, 1);
});

test("a training step in arenas of two megabytes has the bits that it has in one of four gigabytes", async () => {
  const small = { arenaBytes: 2 * arenaBytes };
  const bits: string[] = [];
  for (const options of [{ threads: 1 }, { threads: 1, ...small }, { threads: 2, grain: 1, ...small }]) {
    await device("cpu", { options });
    const step = jit((w: readonly Tensor[], x: Tensor) =>
      grad((layers: readonly Tensor[]) =>
        layers
          .reduce((h, layer) => matmul(h, layer).tanh(), x)
          .square()
          .mean(),
      )(w).map((g, i) => (w[i] as Tensor).sub(g)),
    );
    let w: readonly Tensor[] = [1, 2, 3, 4].map((n) => random.normal(key(n), [256, 256]).mul(0.1));
    const x = random.normal(key(9), [512, 256]);
    for (let round = 0; round < 3; round++) w = step(w, x);
    const data = await Promise.all(w.map((t) => t.data()));
    bits.push(data.map((d) => String(new Uint32Array((d as Float32Array).slice().buffer))).join());
    assert.ok(memory().peak > 3 * arenaBytes);
  }
  assert.equal(bits[1], bits[0]);
  assert.equal(bits[2], bits[0]);
});
