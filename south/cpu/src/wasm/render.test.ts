import assert from "node:assert/strict";
import { test } from "node:test";
import { build, constIndex, type DType, type Fn, makeFn, newScope, type Node, type RangeKind, tensorType, within } from "sinan/south";
import { cpuDriver } from "../index.ts";
import { render } from "./render.ts";

test("smoke", async () => {
  const device = await cpuDriver.open("cpu");
  const n = 10;
  const kernel = within(newScope(), () => {
    const x = build.build("param", [], { index: 0, name: "x", type: tensorType("f32", [n]) });
    const y = build.build("param", [], { index: 1, name: "y", type: tensorType("f32", [n]) });
    const i = build.build("range", [], { id: 0, extent: n, kind: "loop" });
    const st = build.build("store", [y, i, build.add(build.build("load", [x, i], {}), build.scalar(1, "f32"))], {});
    return makeFn("k", [x, y], [build.build("kernel", [build.build("nest", [st], { order: [0] })], {})]);
  });
  const art = render(kernel, device.hardware, { check: true });
  const exe = await device.load(art);
  const a = device.alloc(40, "device");
  const b = device.alloc(40, "device");
  new Float32Array(a.view!().buffer, a.view!().byteOffset, n).set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  device.submit("compute", [{ kind: "launch", executable: exe, regions: [{ memory: a, offset: 0, bytes: 40 }, { memory: b, offset: 0, bytes: 40 }], scalars: [] }], [], { timeline: 0, value: 1n });
  await device.wait({ timeline: 0, value: 1n });
  console.log(new Float32Array(b.view!().buffer, b.view!().byteOffset, n));
});
