import assert from "node:assert/strict";
import { test } from "node:test";
import { DeviceError, KernelError, OutOfMemoryError } from "../errors.ts";
import { parse } from "../ir/parse.ts";
import type { Device, Region } from "../runtime/driver.ts";
import { graphCodegen } from "./codegen.ts";
import { interpreterDriver } from "./driver.ts";
import { decode, encode, valueOf } from "./value.ts";

const saxpy = parse(`fn @saxpy(%0 "x": f32[3], %1 "a": f32[]@host, %2 "y": f32[3]) {
  %3 = reshape(%1) {dims: [1]} : f32[1]
  %4 = expand(%3) {dims: [3]} : f32[3]
  %5 = mul(%4, %0) : f32[3]
  %6 = add(%5, %2) : f32[3]
  return %6, %5
}`);

const at = (timeline: number, value: bigint) => ({ timeline, value });

function region(device: Device, bytes: number | Uint8Array): Region {
  const size = typeof bytes === "number" ? bytes : bytes.length;
  const memory = device.alloc(size + 64, "device");
  if (typeof bytes !== "number") memory.view?.().set(bytes, 64);
  return { memory, offset: 64, bytes: size };
}

const read = ({ memory, offset }: Region, count: number, dtype: "f32" | "f64" = "f32") => [
  ...decode(dtype, (memory.view?.() ?? new Uint8Array()).subarray(offset), [count]).data,
];

const hardware = async () => (await interpreterDriver.probe())[0] as never;

test("inputs, outputs and scalars follow the order of launches", async () => {
  const device = await interpreterDriver.open("interpreter");
  const executable = await device.load(graphCodegen.render(saxpy, await hardware()));
  const [x, y] = [
    region(device, encode(valueOf("f32", [3], [1, 2, 3]))),
    region(device, encode(valueOf("f32", [3], [10, 20, 30]))),
  ];
  const product = region(device, 12);
  // The first result is written over y.
  device.submit("compute", [{ kind: "launch", executable, regions: [x, y, y, product], scalars: [2] }], [], at(0, 1n));
  assert.equal(device.poll(at(0, 1n)), 1n);
  assert.deepEqual(
    [read(y, 3), read(product, 3)],
    [
      [12, 24, 36],
      [2, 4, 6],
    ],
  );
  device.submit(
    "copy",
    [
      { kind: "copy", from: y, to: x },
      { kind: "fill", to: product, byte: 0 },
    ],
    [],
    at(1, 1n),
  );
  await device.wait(at(1, 1n));
  assert.deepEqual(
    [read(x, 3), read(product, 3)],
    [
      [12, 24, 36],
      [0, 0, 0],
    ],
  );
});

test("work waits for a fence, what stands behind it in the queue waits too, another queue does not", async () => {
  const device = await interpreterDriver.open("interpreter:0");
  const out = region(device, 3);
  const fill = (byte: number) => [{ kind: "fill", to: out, byte }] as const;
  device.submit("compute", fill(1), [at(7, 2n)], at(0, 1n));
  device.submit("compute", fill(2), [], at(0, 2n));
  assert.equal(device.poll(at(0, 2n)), 0n);
  device.submit("copy", fill(3), [], at(7, 1n));
  assert.deepEqual([device.poll(at(0, 1n)), out.memory.view?.()[64]], [0n, 3]);
  await assert.rejects(device.wait(at(0, 1n), 5), /fence 0:1 has not passed after 5 ms/);
  device.submit("copy", [], [], at(7, 2n));
  assert.deepEqual([device.poll(at(0, 1n)), out.memory.view?.()[64]], [2n, 2]);
});

test("a failure reaches what depends on it, and nothing else", async () => {
  const device = await interpreterDriver.open("interpreter");
  const executable = await device.load(graphCodegen.render(saxpy, await hardware()));
  device.submit("compute", [], [], at(0, 1n));
  device.submit("compute", [{ kind: "launch", executable, regions: [], scalars: [] }], [], at(0, 2n));
  device.submit("compute", [], [at(0, 2n)], at(0, 3n));
  device.submit("compute", [], [at(0, 1n)], at(0, 4n));
  await device.wait(at(0, 1n));
  await assert.rejects(device.wait(at(0, 2n)), KernelError);
  await assert.rejects(device.wait(at(0, 3n)), /saxpy/);
  assert.throws(() => device.poll(at(0, 3n)), KernelError);
  await device.wait(at(0, 4n));
});

test("exact: values stay unrounded from kernel to kernel until somebody writes over them", async () => {
  const steps = [
    'fn @down(%0 "x": f64[1]) {\n%1 = cast(%0) {dtype: "f32"} : f32[1]\nreturn %1\n}',
    'fn @square(%0 "x": f32[1]) {\n%1 = mul(%0, %0) : f32[1]\nreturn %1\n}',
    'fn @up(%0 "x": f32[1]) {\n%1 = cast(%0) {dtype: "f64"} : f64[1]\nreturn %1\n}',
  ];
  const results: number[] = [];
  for (const exact of [true, false]) {
    const device = await interpreterDriver.open("interpreter", { exact });
    const load = async (text: string) => device.load(graphCodegen.render(parse(text), await hardware()));
    const [down, square, up] = [await load(steps[0] ?? ""), await load(steps[1] ?? ""), await load(steps[2] ?? "")];
    const [x, a, c, out] = [
      region(device, encode(valueOf("f64", [1], [Math.PI]))),
      region(device, 4),
      region(device, 4),
      region(device, 8),
    ];
    const launch = (executable: typeof down, ...regions: Region[]) =>
      ({ kind: "launch", executable, regions, scalars: [] }) as const;
    device.submit(
      "compute",
      [launch(down, x, a), launch(square, a, c), { kind: "copy", from: c, to: a }, launch(up, a, out)],
      [],
      at(0, 1n),
    );
    results.push(...(read(out, 1, "f64") as number[]));
    a.memory.view?.().set(encode(valueOf("f32", [1], [3])), 64);
    device.submit("compute", [launch(up, a, out)], [], at(0, 2n));
    results.push(...(read(out, 1, "f64") as number[]));
  }
  assert.deepEqual(results, [Math.PI ** 2, 3, Math.fround(Math.fround(Math.PI) ** 2), 3]);
});

test("what is no code, no device, no memory of it, too large is told", async () => {
  const device = await interpreterDriver.open("interpreter");
  const other = await interpreterDriver.open("interpreter");
  await assert.rejects(interpreterDriver.open("gpu"), DeviceError);
  await assert.rejects(
    device.load({ codegen: "wasm", name: "k", code: new Uint8Array(), scratchBytes: 0 }),
    DeviceError,
  );
  await assert.rejects(device.load({ codegen: "sinan-ir", name: "k", code: "fn", scratchBytes: 0 }), /line 1/);
  assert.throws(() => device.alloc(2 ** 40, "device"), OutOfMemoryError);
  const executable = await other.load(graphCodegen.render(saxpy, await hardware()));
  device.submit("compute", [{ kind: "launch", executable, regions: [], scalars: [] }], [], at(3, 1n));
  await assert.rejects(device.wait(at(3, 1n)), /another device/);
});
