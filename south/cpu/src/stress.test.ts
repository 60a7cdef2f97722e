/** Threads under stress: random work on many devices at once, workers that are lost or never begin, a process that ends in the
 *  middle. SINAN_STRESS=60 works at random for a minute instead of a second. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import worker_threads from "node:worker_threads";
import {
  type Artifact,
  build,
  type Command,
  type Device,
  DeviceLostError,
  type Executable,
  KernelError,
  makeFn,
  newScope,
  type Region,
  tensorType,
  within,
} from "sinan/south";
import { cpuDriver, wasmCodegen } from "./index.ts";
import { wasmModule } from "./wasm/assembler.ts";
import { partsSection } from "./wasm/parts.ts";

const seconds = Number(process.env["SINAN_STRESS"] ?? 1);
const count = 20_000;
const bytes = 4 * count;

/** y[i] = x[i] + 1 */
function increment(on: Device): Artifact {
  const param = (index: number) =>
    build.build("param", [], { index, name: `p${index}`, type: tensorType("i32", [count]) });
  const kernel = within(newScope(), () => {
    const [x, y] = [param(0), param(1)] as const;
    const i = build.build("range", [], { id: 0, extent: count, kind: "parallel" });
    const sum = build.add(build.build("load", [x, i], {}), build.scalar(1, "i32"));
    const nest = build.build("nest", [build.build("store", [y, i, sum], {})], { order: [0] });
    return makeFn("increment", [x, y], [build.build("kernel", [nest], {})]);
  });
  return wasmCodegen.render(kernel, on.hardware);
}

/** Traps in each of its parts. */
function trapping(): Artifact {
  const module = wasmModule();
  module.fn(["i32", "i32"], [], (f) => f.unreachable(), { name: "bad 0", export: "part0" });
  module.fn([], [], (f) => f.unreachable(), { name: "bad", export: "run" });
  module.note(partsSection, JSON.stringify([[8, 2 ** 30]]));
  return { codegen: "wasm-simd", name: "bad", code: module.bytes(), scratchBytes: 0 };
}

const valuesOf = ({ memory }: Region): Int32Array => {
  const view = memory.view?.() ?? new Uint8Array();
  return new Int32Array(view.buffer, view.byteOffset, count);
};

/** A region all of whose elements are one number. */
interface Cell {
  readonly region: Region;
  value: number;
}

/** Random submissions on one device, in arenas of a megabyte, beside what they must leave; every so often all is read. */
async function wander(seed: number, until: number): Promise<number> {
  const threads = 1 + (seed % 3);
  const on = await cpuDriver.open("cpu", { threads, grain: 1 + (seed % 4096), arenaBytes: 2 ** 20 });
  const [more, bad] = await Promise.all([on.load(increment(on)), on.load(trapping())]);
  let state = seed;
  const random = (n: number): number => ((state = (Math.imul(state, 1103515245) + 12345) & 0x7fff_ffff) >> 8) % n;
  let clock = 0n;
  const submit = (commands: readonly Command[]) => {
    const signal = { timeline: seed, value: ++clock };
    on.submit("compute", commands, [], signal);
    return signal;
  };
  const launch = (executable: Executable, ...regions: Region[]): Command => ({
    kind: "launch",
    executable,
    regions,
    scalars: [],
  });
  const cells: Cell[] = [];
  const add = (): Cell => {
    const region = { memory: on.alloc(bytes, "device"), offset: 0, bytes };
    submit([{ kind: "fill", to: region, byte: 0 }]);
    const cell = { region, value: 0 };
    cells.push(cell);
    return cell;
  };
  add();
  let steps = 0;
  do {
    // The other devices have their turn.
    await new Promise((resume) => setImmediate(resume));
    const commands: Command[] = [];
    for (let n = random(40); n >= 0; n--) {
      const [a, b] = [cells[random(cells.length)] as Cell, cells[random(cells.length)] as Cell];
      const kind = random(8);
      if (kind === 0) {
        commands.push({ kind: "fill", to: a.region, byte: kind + n });
        a.value = (kind + n) * 0x0101_0101;
      } else if (kind === 1 && a !== b) {
        commands.push({ kind: "copy", from: a.region, to: b.region });
        b.value = a.value;
      } else {
        commands.push(launch(more, a.region, b.region));
        b.value = (a.value + 1) | 0;
      }
    }
    const passed = submit(commands);
    steps += commands.length;
    if (random(10) === 0) {
      const failed = submit([launch(bad)]);
      await assert.rejects(on.wait(failed), KernelError);
      await on.wait(passed);
    }
    if (cells.length < 24 && random(3) === 0) add();
    else if (cells.length > 4 && random(4) === 0)
      for (const { region } of cells.splice(random(cells.length), 1)) on.free(region.memory);
    if (random(12) > 0) continue;
    await on.wait(submit([]), 30_000);
    for (const { region, value } of cells)
      assert.ok(
        valuesOf(region).every((v) => v === value),
        `seed ${seed}`,
      );
  } while (performance.now() < until);
  await on.wait(submit([]), 30_000);
  await on.close();
  return steps;
}

test("random work on seven devices at once leaves what it must", async () => {
  const until = performance.now() + seconds * 1000;
  const steps = await Promise.all([1, 2, 3, 4, 5, 6, 7].map((seed) => wander(seed, until)));
  assert.ok(steps.every((n) => n > 0));
});

/** Runs `body` while threads are made by another class. */
async function withThreads(made: typeof worker_threads.Worker, body: () => Promise<void>): Promise<void> {
  const { Worker } = worker_threads;
  worker_threads.Worker = made;
  try {
    await body();
  } finally {
    worker_threads.Worker = Worker;
  }
}

/** Large work for two threads, and its result. */
async function large(on: Device, times: number): Promise<{ readonly done: Promise<void>; readonly to: Region }> {
  const executable = await on.load(increment(on));
  const to = { memory: on.alloc(bytes, "device"), offset: 0, bytes };
  valuesOf(to).fill(0);
  const one: Command = { kind: "launch", executable, regions: [to, to], scalars: [] };
  on.submit(
    "compute",
    Array.from({ length: times }, () => one),
    [],
    { timeline: 0, value: 1n },
  );
  return { done: on.wait({ timeline: 0, value: 1n }, 30_000), to };
}

test("a worker that ends in the middle is a lost device, at once", async () => {
  const made: worker_threads.Worker[] = [];
  class Watched extends worker_threads.Worker {
    constructor(...given: ConstructorParameters<typeof worker_threads.Worker>) {
      super(...given);
      made.push(this);
    }
  }
  await withThreads(Watched, async () => {
    const on = await cpuDriver.open("cpu", { threads: 2, grain: 1 });
    const { done } = await large(on, 100_000);
    const failed = assert.rejects(done, DeviceLostError);
    await Promise.all(made.map((worker) => new Promise((resume) => worker.once("message", resume))));
    await made[0]?.terminate();
    await failed;
    assert.match((await on.lost).reason, /a worker was lost/);
    assert.throws(() => on.alloc(8, "device"), /closed/);
    await Promise.all(made.map((worker) => worker.terminate()));
  });
});

test("where no worker begins, the calling thread does what they were given", async () => {
  class Ending extends worker_threads.Worker {
    constructor() {
      super("process.exit(3)", { eval: true });
    }
  }
  const refuse = (): string => {
    throw new Error("no threads here");
  };
  class Refused extends worker_threads.Worker {
    constructor() {
      super(refuse());
    }
  }
  for (const kind of [Ending, Refused])
    await withThreads(kind, async () => {
      const on = await cpuDriver.open("cpu", { threads: 2, grain: 1 });
      const { done, to } = await large(on, 3000);
      await done;
      assert.ok(valuesOf(to).every((v) => v === 3000));
      await on.close();
    });
});

test("a process ends in the middle of work when it is told to, and by itself when all is done", () => {
  const begin = `
    import { device, key, matmul, random } from "sinan";
    import "@sinan/cpu";
    for (let n = 0; n < 4; n++) {
      await device("cpu", { options: { threads: 2, grain: 1 } });
      let a = random.normal(key(n), [256, 256]);
      for (let i = 0; i < 20; i++) a = matmul(a, a);
      globalThis["r" + n] = a.sum().item();
    }`;
  const ends = (text: string): number | null =>
    spawnSync(process.execPath, ["--input-type=module", "-e", begin + text], {
      cwd: import.meta.dirname,
      timeout: 60_000,
    }).status;
  assert.equal(ends("process.exit(7);"), 7);
  assert.equal(ends(""), 0);
});
