/** The lean package alone: what it leaves out says where it is to be had. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  build,
  fuseRows,
  type DType,
  DeviceError,
  lower,
  makeFn,
  newScope,
  tensorType,
  VerifyError,
  within,
} from "sinan/south";
import { device, grad, key, nn, random, softmax, type Tensor, tensor } from "sinan";
import { cpuDriver, wasmCodegen } from "./lean.ts";

const doubled = (dtype: DType) =>
  within(newScope(), () => {
    const x = build.build("param", [], { index: 0, name: "x", type: tensorType(dtype, [8]) });
    return makeFn("doubled", [x], [build.add(x, x)]);
  });

test("the lean device is one thread with memory of its own, and takes no options", async () => {
  const { hardware } = await cpuDriver.open("cpu");
  assert.equal(hardware.threads, 1);
  assert.equal(hardware.sharedMemory, false);
  await assert.rejects(cpuDriver.open("cpu", { threads: 2 }), DeviceError);
});

test("it has the dtypes that it names; another one's error names the whole package", async () => {
  const { hardware } = await cpuDriver.open("cpu");
  for (const dtype of ["f32", "f64", "i32", "u32", "u8", "i8", "u16", "i16"] as const)
    assert.ok(hardware.dtypes[dtype]);
  for (const dtype of ["f32", "f64", "i32", "u32"] as const)
    assert.ok(
      WebAssembly.validate(wasmCodegen.render(lower(doubled(dtype)), hardware).code as Uint8Array<ArrayBuffer>),
    );
  for (const dtype of ["i64", "f16", "bf16"] as const) assert.equal(hardware.dtypes[dtype], undefined);
  assert.throws(
    () => wasmCodegen.render(lower(doubled("i64")), hardware),
    (error) => error instanceof VerifyError && /import "@sinan\/cpu"/.test(error.message),
  );
});

test("narrow integers are loaded, stored and cast; arithmetic in them is refused", async () => {
  await device("cpu");
  const pixels = tensor(Uint8Array.of(0, 51, 255));
  assert.deepEqual(await pixels.cast("f32").div(255).data(), Float32Array.of(0, 0.2, 1));
  assert.deepEqual(await pixels.cast("i32").mul(-1).cast("i8").data(), Int8Array.of(0, -51, 1));
  for (const dtype of ["u8", "i16"] as const)
    assert.throws(
      () => lower(doubled(dtype)),
      (error) => error instanceof VerifyError && error.message.includes(`add computes in ${dtype}`),
    );
});

test("softmax and norms have the same bits in several kernels as in one", async () => {
  await device("cpu");
  const x = random.normal(key(1), [72, 33]);
  const loss = (t: Tensor): Tensor => softmax(nn.functional.layerNorm(t)).mul(t).sum();
  const bits = async (rows: number) => (await grad(loss)(x.narrow(0, 0, rows)).data()).slice(0, 64 * 33);
  const apart = await bits(64);
  fuseRows();
  // Other shapes, so that they are compiled again.
  assert.deepEqual(await bits(72), apart);
});
