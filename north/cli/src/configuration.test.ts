/** Settings in files, as the program meets them: found, checked, and overruled by flags. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import test, { type TestContext } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { defineConfig } from "./define-config.ts";

const main = fileURLToPath(new URL("main.ts", import.meta.url));

function scratch(t: TestContext, files: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(path.join(tmpdir(), "sinan-config-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(directory, name), text);
  return directory;
}

function sinan(cwd: string, ...args: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { cwd, encoding: "utf8" });
  return { code: status, out: stdout, err: stderr };
}

test("a typed file gives the settings, and flags have the last word", (t) => {
  const door = pathToFileURL(fileURLToPath(new URL("define-config.ts", import.meta.url))).href;
  const config = `import { defineConfig } from ${JSON.stringify(door)};
export default defineConfig({ devices: { json: true }, train: { model: "no-such-model", checkpointEvery: 5 } });\n`;
  const directory = scratch(t, { "sinan.config.ts": config, "other.json": '{ "devices": { "json": false } }' });
  const found = sinan(directory, "devices");
  assert.equal(found.code, 0, found.err);
  assert.ok(Array.isArray(JSON.parse(found.out)));
  const { code, err } = sinan(directory, "train");
  assert.deepEqual([code, err.includes('there is no model "no-such-model"')], [2, true]);
  assert.match(sinan(directory, "train", "--model", "other-model").err, /no model "other-model"/);
  assert.doesNotMatch(sinan(directory, "devices", "--config", "other.json").out, /^\[/);
});

test("what a file should not have is said with the file's name, and nothing is run", (t) => {
  const directory = scratch(t, {
    "typo.json": '{ "trian": {} }',
    "key.json": '{ "devices": { "jsno": true } }',
    "value.json": '{ "train": { "steps": "many" } }',
    "list.json": "[1]",
    "torn.json": '{ "train"',
    "throws.mjs": 'throw new Error("not today");',
    "prototype.json": '{ "__proto__": { "train": 1 }, "constructor": {} }',
  });
  const cases = {
    "typo.json": /typo.json: there is no command "trian"\n {2}Did you mean train\?/,
    "key.json": /key.json: devices: there is no setting "jsno"\n {2}Did you mean json\?/,
    "list.json": /list.json: expected an object/,
    "torn.json": /torn.json: cannot be read/,
    "throws.mjs": /throws.mjs: cannot be read: not today/,
    "prototype.json": /there is no command "(__proto__|constructor)"/,
    "missing.json": /there is no file missing.json/,
  };
  for (const [file, message] of Object.entries(cases)) {
    const { code, out, err } = sinan(directory, "devices", "--config", file);
    assert.deepEqual([code, out], [2, ""], err);
    assert.match(err, message);
  }
  assert.match(
    sinan(directory, "train", "--config", "value.json").err,
    /value.json: train: steps: expected a whole number from 1 to 1000000000, got "many"/,
  );
});

test("the types know the flags", () => {
  defineConfig({
    train: { steps: 300, resume: false, checkpointEvery: 10 },
    generate: { stop: ["."], overflow: "slide" },
  });
  // @ts-expect-error there is no such command
  defineConfig({ trian: {} });
  // @ts-expect-error there is no such setting
  defineConfig({ train: { step: 300 } });
  // @ts-expect-error it is a number
  defineConfig({ train: { steps: "300" } });
  // @ts-expect-error there is no such choice
  defineConfig({ generate: { overflow: "grow" } });
});
