/** Kernels' texts that an earlier process left: when they are found, and when they are made anew. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { type Artifact, type Fn, type HardwareModel, parse } from "sinan/south";
import { inCache, noShell as skip, temporary } from "./toolchain/fake-compiler.fixture.ts";
import { sourcesHash } from "./sources.ts";
import { openStore } from "./store/store.ts";
import { Texts } from "./texts.ts";

const folder = temporary();
let count = 0;
const newPath = (): string => path.join(folder, `d${count++}`);

const group = (text: string): Fn => parse(`fn @f(%0 "x": f32[8]) {\n  %1 = ${text}\n  return %1\n}\n`);
const exp = group("exp(%0) : f32[8]  // model.ts:1:1");
const hardware = { id: "cpu", features: ["fma"], tier: "native" } as unknown as HardwareModel;
const artifact: Artifact = { codegen: "c", name: "f", code: "void f(void) {}", scratchBytes: 64 };

interface Asked {
  readonly sources?: string | undefined;
  readonly fn?: Fn;
  readonly on?: HardwareModel;
  readonly tuning?: string;
}

/** Whether another process makes the kernel itself. */
function makes(directory: string, { sources = "one", fn = exp, on = hardware, tuning }: Asked = {}): boolean {
  let made = false;
  const texts = new Texts(openStore({ environment: { SINAN_CACHE: directory } }), sources);
  const got = texts.cached(fn, on, tuning, () => {
    made = true;
    return artifact;
  });
  assert.deepEqual(got, artifact);
  texts.save();
  return made;
}

test("a kernel is made once, whoever asks for it later and whatever line it is of", () => {
  const directory = newPath();
  assert.ok(makes(directory));
  assert.ok(!makes(directory));
  assert.ok(!makes(directory, { fn: group("exp(%0) : f32[8]  // other.ts:2:2") }));
  assert.equal(inCache(directory).length, 1);
});

test("another group, processor, tuning or compiler is another kernel", () => {
  const directory = newPath();
  makes(directory);
  assert.ok(makes(directory, { fn: group("log(%0) : f32[8]") }));
  assert.ok(makes(directory, { on: { ...hardware, features: ["avx512f"] } }));
  assert.ok(makes(directory, { tuning: "t" }));
  assert.ok(makes(directory, { sources: "two" }));
  assert.ok(!makes(directory));
});

test("a text that is not what it was is made again", () => {
  for (const damage of ["", "{}", "x".repeat(100)]) {
    const directory = newPath();
    makes(directory);
    const [name = ""] = inCache(directory);
    writeFileSync(path.join(directory, name), damage);
    assert.ok(makes(directory));
    assert.ok(!makes(directory));
    assert.match(readFileSync(path.join(directory, name), "utf8"), /void f/);
  }
});

test("where nothing is kept, or nobody knows whose sources these are, each process makes its own", () => {
  const [directory, none] = [newPath(), newPath()];
  const store = openStore({ environment: { SINAN_CACHE: none, SINAN_CACHE_MB: "0" } });
  const texts = [new Texts(openStore({ environment: { SINAN_CACHE: directory } }), undefined), new Texts(store, "one")];
  for (const one of [...texts, ...texts]) {
    let made = 0;
    one.cached(exp, hardware, undefined, () => (made++, artifact));
    one.save();
    assert.equal(made, 1);
  }
  assert.deepEqual(inCache(directory), []);
});

test("the sources of the compiler are told apart by what is in them", { skip }, () => {
  const root = newPath();
  mkdirSync(root);
  for (const [from, to] of [
    ["south/cpu/src", "cpu"],
    ["core/src", "core"],
  ] as const)
    cpSync(path.resolve(import.meta.dirname, "../../../..", from), path.join(root, to), { recursive: true });
  const at = (...names: string[]): string => pathToFileURL(path.join(root, ...names)).href;
  const hash = (): string | undefined => sourcesHash(at("cpu", "native", "sources.ts"), at("core", "south.ts"));
  const before = hash();
  assert.match(before ?? "", /^[0-9a-f]{64}$/);
  assert.equal(before, sourcesHash(), "a copy is the same");
  writeFileSync(path.join(root, "core", "kernel", "lower.test.ts"), "");
  assert.equal(hash(), before, "a test makes no kernels");
  writeFileSync(path.join(root, "core", "kernel", "lower.ts"), "");
  assert.notEqual(hash(), before);
  mkdirSync(path.join(root, "core", "node_modules"));
  writeFileSync(path.join(root, "core", "node_modules", "other.js"), "");
  const changed = hash();
  assert.notEqual(changed, undefined);
  rmSync(path.join(root, "core", "node_modules"), { recursive: true });
  assert.equal(hash(), changed, "other packages are not the compiler");
  symlinkSync("ir", path.join(root, "core", "linked"));
  assert.equal(hash(), undefined, "what a link leads to is not known");
  assert.equal(sourcesHash(at("cpu", "bundle.js"), at("core", "south.ts")), undefined);
  assert.equal(sourcesHash(at("gone", "native", "sources.ts"), at("core", "south.ts")), undefined);
});
