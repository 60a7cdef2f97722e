/** The lean package alone: what it leaves out says where it is to be had. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { build, type DType, DeviceError, lower, makeFn, newScope, tensorType, VerifyError, within } from "sinan/south";
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
  for (const dtype of ["f32", "f64", "i32", "u32", "u8", "i8", "u16", "i16"] as const) {
    assert.ok(hardware.dtypes[dtype]);
    assert.ok(
      WebAssembly.validate(wasmCodegen.render(lower(doubled(dtype)), hardware).code as Uint8Array<ArrayBuffer>),
    );
  }
  for (const dtype of ["i64", "f16", "bf16"] as const) {
    assert.equal(hardware.dtypes[dtype], undefined);
    assert.throws(
      () => wasmCodegen.render(lower(doubled(dtype)), hardware),
      (error) => error instanceof VerifyError && /import "@sinan\/cpu"/.test(error.message),
    );
  }
});
