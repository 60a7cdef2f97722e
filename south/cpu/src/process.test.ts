/** The device in a process of its own: what the environment says, and how a program ends while workers are there. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { cpuDriver } from "./index.ts";

test("the number of threads is said by the option, the environment or the machine", async () => {
  assert.equal((await cpuDriver.open("cpu", { threads: 5 })).hardware.threads, 5);
  assert.ok(((await cpuDriver.probe())[0]?.threads ?? 0) >= 1);
  await assert.rejects(cpuDriver.open("cpu", { threads: 0 }), /threads is a whole number/);
  await assert.rejects(cpuDriver.open("cpu", { grain: "x" }), /grain is a whole number/);
  const before = process.env["SINAN_THREADS"];
  try {
    process.env["SINAN_THREADS"] = "3";
    assert.equal((await cpuDriver.open("cpu")).hardware.threads, 3);
    process.env["SINAN_THREADS"] = "many";
    await assert.rejects(cpuDriver.open("cpu"), /SINAN_THREADS is a whole number/);
  } finally {
    if (before === undefined) delete process.env["SINAN_THREADS"];
    else process.env["SINAN_THREADS"] = before;
  }
});

/** What a program of its own prints, and how it ends. */
function script(text: string): { readonly out: string; readonly status: number | null } {
  const { stdout, stderr, status } = spawnSync(process.execPath, ["--input-type=module", "-e", text], {
    cwd: import.meta.dirname,
    encoding: "utf8",
    timeout: 30000,
  });
  return { out: stdout + stderr, status };
}
const begin = `
  import { device, key, matmul, random } from "sinan";
  import "@sinan/cpu";
  await device("cpu", { options: { threads: 2 } });
  const a = random.normal(key(1), [512, 512]);
  const b = matmul(a, a);`;

test("a pending read keeps the process alive, and a script ends by itself", () => {
  assert.deepEqual(script(`${begin} b.sum().item().then((x) => console.log(Number.isFinite(x)));`), {
    out: "true\n",
    status: 0,
  });
  assert.deepEqual(script(`${begin} await b.sum().item(); console.log("end");`), { out: "end\n", status: 0 });
  assert.deepEqual(script(`${begin} console.log("asked");`), { out: "asked\n", status: 0 });
});
