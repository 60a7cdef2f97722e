/** What only a page can show: the memory that its headers give it, a main thread that goes on while workers compute, and
 *  failures that nobody reads. Runs like a test file, in pages alone. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { currentDevice, device, hostTurn, jit, key, matmul, random, register, type Tensor, tensor } from "sinan";
import { cpuDriver, wasmCodegen } from "@sinan/cpu";

interface Page {
  readonly crossOriginIsolated: boolean;
  readonly gc: () => void;
  addEventListener(
    type: "error",
    listener: (event: { readonly message: string; preventDefault(): void }) => void,
  ): void;
}

const page = globalThis as unknown as Page;
const isIsolated = process.env["SINAN_TEST_ISOLATED"] === "yes";

before(() => device("cpu"));

test("shared memory and threads are there exactly where the headers isolate the page", async () => {
  assert.equal(page.crossOriginIsolated, isIsolated);
  const { sharedMemory, threads = 0 } = await currentDevice();
  assert.equal(sharedMemory, isIsolated);
  assert.ok(isIsolated ? threads > 1 : threads === 1, `${threads} threads`);
  const [probed] = await cpuDriver.probe();
  assert.equal(probed?.threads, threads);
});

test("while workers compute, the main thread goes on", async () => {
  const chain = jit((x: Tensor) => {
    let y = x;
    for (let i = 0; i < 8; i++) y = matmul(y, x).mul(1 / 32);
    return y.sum();
  });
  const x = random.normal(key(1), [768, 768]);
  await chain(x).item();
  let turns = 0;
  const reading = chain(x).item();
  for (let value: number | undefined; value === undefined; turns++)
    value = await Promise.race([reading, hostTurn().then(() => undefined)]);
  assert.ok(Number.isFinite(await reading));
  // Where the main thread has the work itself, there is a turn before it and one after it.
  if (isIsolated) assert.ok(turns > 20, `${turns} turns of the page`);
});

test("a memory that grows leaves tensors their numbers", async () => {
  const first = tensor(Float32Array.from({ length: 1000 }, (_, i) => i)).add(0.5);
  const before = (await first.data()) as Float32Array;
  const held: Tensor[] = [];
  for (let i = 0; i < 6; i++) {
    held.push(tensor(new Float32Array(2 ** 22).fill(i)).add(1));
    assert.equal(await held.at(-1)?.sum().item(), (i + 1) * 2 ** 22);
    assert.deepEqual(await first.data(), before);
  }
  for (const [i, x] of held.entries()) assert.equal(await x.at(2 ** 22 - 1).item(), i + 1);
  assert.equal(before[999], 999.5);
});

test("a turn of the host does not wait as nested timers do", async () => {
  const time = async (turn: () => Promise<void>): Promise<number> => {
    const start = performance.now();
    for (let i = 0; i < 40; i++) await turn();
    return performance.now() - start;
  };
  const timers = await time(() => new Promise((resume) => void setTimeout(resume, 0)));
  const turns = await time(hostTurn);
  assert.ok(turns < timers / 2, `${turns} ms, with timers ${timers} ms`);
});

/** A kernel without parts whose only instruction is `unreachable`: a WebAssembly module of (i32, i32) → (). */
const trap = Uint8Array.from(
  [0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 2, 127, 127, 0, 3, 2, 1, 0].concat([
    7, 7, 1, 3, 114, 117, 110, 0, 0, 10, 5, 1, 3, 0, 0, 11,
  ]),
);

test("a failure that nobody read is reported when it is gone, and one that was read is not", async () => {
  const seen: string[] = [];
  page.addEventListener("error", (event) => {
    seen.push(event.message);
    event.preventDefault();
  });
  const collected = async (): Promise<void> => {
    for (let i = 0; i < 20 && seen.length === 0; i++) {
      page.gc();
      await new Promise<void>((resume) => void setTimeout(resume, 5));
    }
  };
  register({
    codegen: {
      ...wasmCodegen,
      level: "graph",
      render: () => ({ codegen: wasmCodegen.name, name: "broken", code: trap, scratchBytes: 0 }),
    },
  });
  try {
    const step = jit((x: Tensor) => ({ a: x.add(1) }));
    await (async () => {
      const { a } = step(tensor([1]));
      for (const t of [a, a.add(1)]) await assert.rejects(t.data(), /KernelError: .*broken trapped/);
    })();
    await collected();
    assert.deepEqual(seen, []);
    await (async () => {
      step(tensor([2]));
      await hostTurn();
    })();
    await collected();
    assert.equal(seen.length, 1, seen.join("\n"));
    assert.match(seen[0] ?? "", /a failure that nobody read: KernelError: .*broken trapped/);
  } finally {
    register({ codegen: wasmCodegen });
  }
});
