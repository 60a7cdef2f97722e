/** Processes: a script ends by itself, a pending read keeps it alive, and a failure that nobody read makes the exit code say
 *  so. Each case is a program of its own. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";

const core = new URL("../core/src/index.ts", import.meta.url).href;

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a module that has Sinan's exports as `s`. */
function run(source: string, env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const text = `import * as s from ${JSON.stringify(core)};\nconst { device, jit, tensor } = s;\n${source}`;
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      ["--input-type=module", "--eval", text],
      { env: { ...process.env, ...env }, timeout: 60_000 },
      (error, out, err) =>
        resolve({ code: error ? (typeof error.code === "number" ? error.code : -1) : 0, out: out.trim(), err }),
    );
  });
}

/** A jitted step with two results. */
const step = "const step = jit((x) => ({ a: x.add(1), b: x.mul(2).sum() }));\n";
/** A step whose only kernel is `(func (export "run") (param i32 i32) unreachable)`. */
const trapping = `await device("cpu:wasm");
const code = Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 2, 127, 127, 0, 3, 2, 1, 0, 7, 7, 1, 3, 114, 117, 110, 0, 0, 10, 5, 1, 3, 0, 0, 11]);
s.register({ codegen: { name: "wasm-simd", level: "graph", render: () => ({ codegen: "wasm-simd", name: "broken", code, scratchBytes: 0 }) } });
const step = jit((x) => ({ a: x.add(1) }));
`;

for (const on of ["interpreter", "sim", "cpu"]) {
  test(`a script that reads nothing ends by itself (${on})`, async () => {
    const { code, out, err } = await run(
      `${step}const { a } = step(tensor([1]).add(1)); void a.add(1); console.log("end");`,
      { SINAN_DEVICE: on },
    );
    assert.deepEqual([code, out, err], [0, "end", ""]);
  });

  test(`a pending read is finished first (${on})`, async () => {
    const { code, out, err } = await run(`tensor([1, 2]).mul(3).sum().item().then((v) => console.log(v));`, {
      SINAN_DEVICE: on,
    });
    assert.deepEqual([code, out, err], [0, "9", ""]);
  });
}

test("a pending read is finished first, however late the device is", async () => {
  const { code, out } = await run(`await device("sim", { options: { latencyMs: 150 } });
    tensor([1, 2]).mul(3).sum().item().then((v) => console.log(v));`);
  assert.deepEqual([code, out], [0, "9"]);
});

const failing = `await device("sim", { options: { failLaunch: 1 } });\n${step}`;

test("a failure that nobody read: printed, and the exit code is not 0", async () => {
  const { code, out, err } = await run(`${failing}step(tensor([1])); console.log("end");`);
  assert.equal(code, 1);
  assert.equal(out, "end");
  assert.match(err, /a failure that nobody read: KernelError: .*launch 1 failed/);
});

test("so with a trap of the processor's kernels", async () => {
  const { code, err } = await run(`${trapping}step(tensor([1]));`);
  assert.equal(code, 1);
  assert.match(err, /a failure that nobody read: KernelError: .*broken trapped/);
});

test("an exit code that the program has set is left", async () => {
  const { code } = await run(`${failing}process.exitCode = 3; step(tensor([1]));`);
  assert.equal(code, 3);
});

test("a failure that is read and caught is over: exit code 0", async () => {
  for (const prelude of [failing, trapping]) {
    const { code, out, err } = await run(`${prelude}const { a } = step(tensor([1]));
      for (const t of [a, a, a.add(1)]) await t.data().catch((e) => console.log(e.name));`);
    assert.deepEqual([code, out, err], [0, Array(3).fill("KernelError").join("\n"), ""]);
  }
});

test("one result's read is enough, and what was made of the failed ones counts as them", async () => {
  const { code, out } = await run(`${failing}const { a } = step(tensor([1]));
    const later = step(a.mul(2));
    await later.b.data().catch((e) => console.log(e.name));`);
  assert.deepEqual([code, out], [0, "KernelError"]);
});

test("a failure that is read and not caught is Node's own uncaught rejection", async () => {
  const { code, err } = await run(`${failing}await step(tensor([1])).a.data();`);
  assert.equal(code, 1);
  assert.match(err, /KernelError/);
});

test("after a failed step the device goes on", async () => {
  const { code, out } = await run(`${failing}await step(tensor([1])).a.data().catch(() => {});
    console.log(JSON.stringify(await step(tensor([1])).a.toArray()));`);
  assert.deepEqual([code, out], [0, "[2]"]);
});

test("a device that cannot be opened: an error at the read, or at the end", async () => {
  const read = await run(`await tensor([1]).data().catch((e) => console.log(e.name, e.message.split("\\n")[0]));`, {
    SINAN_DEVICE: "abacus",
  });
  assert.deepEqual([read.code, read.out], [0, 'DeviceError no driver is called "abacus"']);
  const unread = await run(`${step}step(tensor([1]));`, { SINAN_DEVICE: "abacus" });
  assert.equal(unread.code, 1);
  assert.match(unread.err, /DeviceError: no driver is called "abacus"/);
});

test("a lost device is a DeviceLostError at each read, also of what is asked for afterwards", async () => {
  const { code, out } = await run(`await device("sim", { options: { loseAfter: 3 } });
    const x = tensor([1, 2]);
    const seen = [];
    for (let i = 0; i < 6; i++) seen.push(await x.add(i).data().then(() => "ok", (e) => e.name));
    seen.push(await tensor([3]).data().then(() => "ok", (e) => e.name));
    const late = await x.data().then(() => "ok", (e) => e.name);
    console.log(seen.join(" "), late);`);
  assert.equal(code, 0, out);
  const names = out.split(" ");
  const lost = names.indexOf("DeviceLostError");
  assert.ok(
    lost > 0 &&
      names.slice(0, lost).every((n) => n === "ok") &&
      names.slice(lost).every((n) => n === "DeviceLostError"),
    out,
  );
});

test("no memory left is an OutOfMemoryError at the read, naming the largest live tensors and their lines", async () => {
  const { code, out } = await run(`await device("interpreter", { options: {}, budget: 8 * 2 ** 20 });
    const double = jit((x) => x.mul(2));
    const kept = [tensor(new Float32Array(2 ** 18))];
    console.log(await kept[0].at(0).item());
    for (let i = 0; i < 8; i++) kept.push(double(kept.at(-1)));
    await kept[8].data().catch((e) => console.log(e.name, e.message));
    try { double(kept[8]); } catch (e) { console.log(e.name); }`);
  assert.equal(code, 0, out);
  assert.match(out, /^0\n(.|\n)*\nOutOfMemoryError$/);
  assert.match(out, /OutOfMemoryError 1\.0 MiB more would exceed the budget of 8\.0 MiB; 7\.0 MiB are in use/);
  assert.match(out, /1\.0 MiB f32\[262144\] made at .*:\d+:\d+/);
});

test("so when the device itself has no more", async () => {
  const { out } = await run(`await device("sim", { options: { memoryBytes: 2 ** 20 } });
    const double = jit((x) => x.mul(2));
    const kept = [tensor(new Float32Array(2 ** 16))];
    for (let i = 0; i < 4; i++) kept.push(double(kept.at(-1)));
    await kept[4].data().catch((e) => console.log(e.name));
    kept.splice(1).forEach((t) => t.dispose());
    console.log(await double(kept[0]).at(0).item());`);
  assert.equal(out, "OutOfMemoryError\n0");
});
