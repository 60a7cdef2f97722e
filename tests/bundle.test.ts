/** A bundled program is one file that needs nothing beside it, keeps to its bar of size and prints what the sources print. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { barBytes, bundle } from "../bench/src/bundle.ts";

const root = path.resolve(import.meta.dirname, "..");
const env = { ...process.env, SINAN_DEVICE: "", SINAN_THREADS: "1" };

test("examples/mlp.ts in one file trains as it does from the sources", async () => {
  const { code, gzipBytes, modules } = await bundle("examples/mlp.ts");
  assert.ok(gzipBytes <= barBytes, `${gzipBytes} bytes of gzip; run npm run check -- size`);
  assert.ok(!modules.some(([file]) => file.includes("interpreter/evaluate")), "the interpreter is in the bundle");
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-bundle-"));
  try {
    writeFileSync(path.join(folder, "mlp.mjs"), code);
    const bundled = spawnSync(process.execPath, ["mlp.mjs"], { cwd: folder, env, encoding: "utf8" });
    const own = spawnSync(process.execPath, ["examples/mlp.ts"], { cwd: root, env, encoding: "utf8" });
    assert.equal(bundled.stderr, "");
    assert.match(bundled.stdout, /^step 150 {2}loss 0\.00/m);
    assert.equal(bundled.stdout, own.stdout);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
