/** Units of C become shared objects by the compiler that is here, and are found again. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { ArgumentError, ToolchainError } from "sinan/south";
import { build } from "./build.ts";
import { type Compiler, findCompiler } from "./compiler.ts";
import { inCache } from "./fake-compiler.fixture.ts";
import { objectFault } from "./object-file.ts";
import { openStore } from "../store/store.ts";

const folder = mkdtempSync(path.join(tmpdir(), "sinan-build-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const environment = { ...process.env, SINAN_CACHE: path.join(folder, "cache") };
const store = openStore({ environment, onWarning: (line) => assert.fail(line) });
const found = await findCompiler({ store, environment });
const skip = "refused" in found ? found.text : false;
const compiler = found as Compiler;
const flags = ["-O2"];

test("a unit becomes a shared object, and is there the next time", { skip }, async () => {
  const units = ["first", "second"].map((name) => ({ name, text: `double ${name}(double x) { return x + 1; }\n` }));
  const steps: unknown[] = [];
  const built = await build(compiler, units, { store, flags, onProgress: (step) => steps.push(step) });
  assert.deepEqual(
    built.map(({ cached }) => cached),
    [false, false],
  );
  for (const [i, { path: file }] of built.entries()) {
    assert.equal(objectFault(readFileSync(file)), undefined);
    assert.ok(path.basename(file).startsWith(`${units[i]?.name}.`));
    assert.ok(readFileSync(file).includes(`${units[i]?.name}`));
  }
  assert.equal(steps.length, 2);
  assert.deepEqual((steps[1] as { done: number }).done, 2);
  const later = openStore({ environment });
  const again = await build(compiler, units, { store: later, flags, onProgress: () => assert.fail("built again") });
  assert.deepEqual(
    again,
    built.map(({ path }) => ({ path, cached: true })),
  );
  const whole = readFileSync(built[0]?.path ?? "");
  for (let bytes = 0; bytes < whole.length; bytes += 97)
    assert.notEqual(objectFault(whole.subarray(0, bytes)), undefined, `${bytes} of ${whole.length} bytes`);
  const [other] = await build(compiler, units.slice(0, 1), { store, flags: ["-O1"] });
  assert.equal(other?.cached, false);
});

test("what the compiler refuses is an error with its words, and leaves nothing behind", { skip }, async () => {
  const before = inCache(store.directory ?? "");
  await assert.rejects(
    build(compiler, [{ name: "wrong", text: "int f( { return 0; }" }], { store, flags }),
    (error) => {
      assert.ok(error instanceof ToolchainError);
      assert.equal(error.reason, "refused");
      assert.match(error.log, /^wrong\.c:1:/m);
      return true;
    },
  );
  assert.deepEqual(inCache(store.directory ?? ""), before);
  await assert.rejects(build(compiler, [{ name: "../x", text: "" }], { store, flags }), ArgumentError);
});
