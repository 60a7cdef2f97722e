/** What is said where there is no koffi, or one that cannot be used. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";

/** What `findFfi` finds in a process whose `require("koffi")` does as it is told. */
function found(koffi: string): unknown {
  const text = `
    const modules = process.getBuiltinModule("node:module");
    const load = modules._load;
    modules._load = (name, ...rest) => { if (name === "koffi") { ${koffi} } return load(name, ...rest); };
    const { findFfi } = await import(${JSON.stringify(new URL("./ffi.ts", import.meta.url).href)});
    console.log(JSON.stringify(await findFfi()));`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", text], { encoding: "utf8" });
  assert.equal(stderr, "");
  return JSON.parse(stdout);
}

test("koffi that is missing, old or broken is a reason in one line", () => {
  assert.deepEqual(found(`throw Object.assign(new Error("Cannot find"), { code: "MODULE_NOT_FOUND" });`), {
    reason: "the package koffi is not installed: npm install koffi",
  });
  assert.deepEqual(found(`throw new Error("bad ELF header\\nin a file");`), {
    reason: "the package koffi cannot be loaded: bad ELF header",
  });
  assert.deepEqual(found(`return { version: "2.9.1" };`), {
    reason: "the package koffi is 2.9.1: 3.0.0 or later is needed",
  });
  // Settings that can no longer be changed are left as they are.
  assert.deepEqual(found(`return { version: "3.9.0", config() { throw new Error("too late"); } };`), {
    name: "koffi 3.9.0",
  });
});
