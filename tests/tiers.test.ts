/** The tiers of the processor: changed at will and never by themselves; what happens where kernels cannot be built. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { changeTier, device, DeviceError, jit, key, matmul, random, type Tensor } from "../core/src/index.ts";
import { noNative } from "./devices.ts";

const skip = noNative;
const folder = mkdtempSync(path.join(tmpdir(), "sinan-tiers-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** What a program of its own prints. */
function script(text: string, env: Readonly<Record<string, string>>) {
  const begin = `import { changeTier, device, jit, matmul, tensor } from "sinan"; await device("cpu");`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ["--input-type=module", "-e", begin + text], {
    cwd: path.join(import.meta.dirname, "../south/cpu/src"),
    encoding: "utf8",
    timeout: 60_000,
    env: { ...process.env, SINAN_CPU: "auto", SINAN_CACHE: path.join(folder, "cache"), ...env },
  });
  return { out: stdout.trim(), err: stderr.trim(), status };
}

/** A compiler that is the system's until a file of kernels comes: then it does this. */
function compilerThat(name: string, does: string): string {
  const file = path.join(folder, name);
  const real = process.env["SINAN_CC"] ?? "cc";
  writeFileSync(
    file,
    `#!/bin/sh\nfor a in "$@"; do case "$a" in *threads*|*trial*|/dev/null|--version) exec ${real} "$@";; esac; done\n${does}\n`,
  );
  chmodSync(file, 0o700);
  return file;
}

const product = `const f = jit((x) => matmul(x, x)); const x = tensor([[1, 2], [3, 4]]);
  console.log((await changeTier("auto")).tier, (await f(x).data()).join(" "));
  console.log((await f(f(x)).data()).join(" "));`;

test("a program is compiled anew for each tier, over the same tensors", { skip }, async () => {
  await device("cpu:native");
  await device("cpu");
  const f = jit((x: Tensor) => matmul(x, x).sum(0));
  const x = random.normal(key(1), [37, 37]);
  const wasm = await f(x).data();
  assert.deepEqual(await changeTier("native"), { tier: "native" });
  const native = await f(x).data();
  assert.deepEqual(await changeTier("wasm"), { tier: "wasm" });
  assert.deepEqual(await f(x).data(), wasm);
  // Sums over vectors of another width.
  for (const [i, value] of native.entries()) assert.ok(Math.abs(Number(value) - Number(wasm[i])) < 1e-4);
  // Results of one are arguments of the other, also while work is under way.
  const big = random.normal(key(2), [512, 512]);
  const g = jit((a: Tensor, b: Tensor) => matmul(a, b).mul(1 / 32), { name: "mixed" });
  let mixed = big;
  let alone = big;
  for (let i = 0; i < 4; i++) {
    await changeTier(i % 2 === 0 ? "native" : "wasm");
    mixed = g(mixed, big);
  }
  for (let i = 0; i < 4; i++) alone = g(alone, big);
  const [p, q] = [await mixed.data(), await alone.data()];
  for (let i = 0; i < q.length; i += 997) assert.ok(Math.abs(Number(p[i]) - Number(q[i])) < 1e-3);
});

test("who starts again schedules, renders and builds no kernel", { skip }, () => {
  const cache = path.join(folder, "again");
  const step = `const { valueAndGrad } = await import("sinan"); await changeTier("native");
    const f = jit((w, x) => valueAndGrad((v) => matmul(x, v).logSoftmax(-1).exp().square().mean())(w));
    const x = tensor(Array.from({ length: 64 * 33 }, (_, i) => Math.sin(i)), { shape: [64, 33] });
    const [loss, slope] = f(x.transpose(), x);
    console.log(await loss.item(), (await slope.data()).join(" "));`;
  const first = script(step, { SINAN_CACHE: cache });
  const inCache = (): string[] => readdirSync(cache, { recursive: true, encoding: "utf8" }).sort();
  const files = inCache();
  assert.ok(files.filter((name) => name.endsWith(".json")).length >= 4, `${files.join(" ")}\n${first.err}`);
  const written = files.map((name) => statSync(path.join(cache, name)).ino);
  assert.deepEqual(script(step, { SINAN_CACHE: cache }), first);
  assert.deepEqual(inCache(), files, "it found all that it asked for");
  assert.deepEqual(
    files.map((name) => statSync(path.join(cache, name)).ino),
    written,
    "and wrote none of it again",
  );
});

test("tiers that there are none of, and names", { skip }, async () => {
  await device("cpu");
  await assert.rejects(changeTier("fast"), (e) => e instanceof DeviceError && /auto, wasm, native/.test(e.message));
  assert.equal((await device("cpu:native")).tier, "native");
  assert.deepEqual(await changeTier("auto"), { tier: "native" });
  assert.equal((await device("cpu:wasm")).tier, "wasm");
  assert.deepEqual(await changeTier("auto"), { tier: "wasm" });
  await assert.rejects(device("cpu:turbo"), /there is no device/);
});

const hugePages = "/sys/kernel/mm/transparent_hugepage/enabled";
const skipHuge = skip || (existsSync(hugePages) ? false : "the system has no huge pages that can be asked for");

test("native memory is in huge pages", { skip: skipHuge }, () => {
  // A mapping's flag "hg" says that they were asked for; what is there of each in megabytes, of more than 40.
  const text = `const { zeros } = await import("sinan"); const { readFileSync } = await import("node:fs");
    const kept = [zeros([2 ** 24]), zeros([2 ** 24])]; for (const x of kept) await x.data();
    const maps = readFileSync("/proc/self/smaps", "utf8").split(/\\n(?=[0-9a-f]+-)/).filter((map) => / hg /.test(map));
    console.log(maps.map((map) => Math.round(Number(/Rss: +(\\d+)/.exec(map)[1]) / 1024)).filter((mb) => mb > 40).join(" "));`;
  assert.ok(Number(script(text, { SINAN_CPU: "native" }).out) >= 128);
  assert.equal(script(text, { SINAN_CPU: "wasm" }).out, "");
});

test("SINAN_CPU rules", { skip }, () => {
  const tier = `const { hardware } = { hardware: await device("cpu") }; console.log(hardware.tier, (await changeTier("auto")).tier);`;
  assert.equal(script(tier, { SINAN_CPU: "wasm" }).out, "wasm wasm");
  assert.equal(script(tier, { SINAN_CPU: "native" }).out, "native native");
  assert.equal(script(tier, {}).out, "wasm native");
  assert.match(script(tier, { SINAN_CPU: "fast" }).err, /SINAN_CPU is one of auto, wasm, native, got "fast"/);
  const refused = script(tier, { SINAN_CPU: "native", SINAN_CC: path.join(folder, "none") });
  assert.match(refused.err, /the native tier cannot be had: no C compiler/);
  assert.notEqual(refused.status, 0);
});

test("without a compiler WebAssembly goes on, and says why", () => {
  const text = `const { tier, reason } = await changeTier("auto"); console.log(tier, reason);`;
  const { out, status } = script(text, { SINAN_CC: path.join(folder, "none") });
  assert.match(out, /^wasm the processor goes on in WebAssembly: .+/);
  assert.equal(out.split("\n").length, 1);
  assert.equal(status, 0);
});

const builds = {
  crashes: "kill -SEGV $$",
  "refuses the kernels": "echo 'error: no' >&2; exit 1",
  "makes nothing": "exit 0",
  "makes garbage": 'while [ $# -gt 0 ]; do if [ "$1" = -o ]; then echo garbage >"$2"; fi; shift; done',
};
for (const [name, does] of Object.entries(builds))
  test(`a compiler that ${name}: one line, and WebAssembly goes on`, { skip }, () => {
    const compiler = compilerThat(name.replaceAll(" ", "-"), does);
    const { out, err, status } = script(product, { SINAN_CC: compiler });
    assert.equal(out, "native 7 10 15 22\n199 290 435 634");
    assert.match(err, /^sinan: the processor goes on in WebAssembly: .+$/);
    assert.equal(status, 0);
  });

test("a compiler that fails over its optimizations is asked for fewer", { skip }, () => {
  const real = process.env["SINAN_CC"] ?? "cc";
  const does = `for a in "$@"; do if [ "$a" = -O1 ]; then exec ${real} "$@"; fi; done; echo 'internal compiler error' >&2; exit 4`;
  const { out, err, status } = script(product, { SINAN_CC: compilerThat("optimizes-badly", does) });
  assert.equal(out, "native 7 10 15 22\n199 290 435 634");
  assert.equal(err, "");
  assert.equal(status, 0);
});

test("an object that loads and has not what it should: one line, and WebAssembly goes on", { skip }, () => {
  const file = path.join(folder, "another-program");
  const real = process.env["SINAN_CC"] ?? "cc";
  const empty = `echo 'int nothing;' > nothing.c; exec ${real} -shared -fPIC -o "$out" nothing.c`;
  const words = `for a in "$@"; do [ "$last" = -o ] && out=$a; last=$a; done`;
  writeFileSync(file, `#!/bin/sh\n${words}\ncase "$*" in *threads.c*) ${empty};; esac\nexec ${real} "$@"\n`);
  chmodSync(file, 0o700);
  const text = `const { tier, reason } = await changeTier("auto"); console.log(tier, reason);`;
  const { out, err, status } = script(text, { SINAN_CC: file, SINAN_CACHE: path.join(folder, "another") });
  assert.match(out, /^wasm the processor goes on in WebAssembly: .*sinan_open.*$/);
  assert.equal(err, "");
  assert.equal(status, 0);
});

/** Runs a program where a directory of its own forbids programs; needs Linux that lets users have mounts of their own. */
const forbidding = (directory: string, ...command: readonly string[]) =>
  spawnSync(
    "unshare",
    ["-rm", "sh", "-c", `mount -t tmpfs -o noexec none '${directory}' && exec "$@"`, "sh", ...command],
    {
      cwd: path.join(import.meta.dirname, "../south/cpu/src"),
      encoding: "utf8",
      timeout: 60_000,
      env: { ...process.env, SINAN_CPU: "auto", SINAN_CACHE: path.join(directory, "cache") },
    },
  );
const noMount = skip || (forbidding(folder, "true").status === 0 ? false : "there are no mounts of a user's own");

test("where the cache's file system forbids programs, the run has its own files: one line", { skip: noMount }, () => {
  const place = mkdtempSync(path.join(folder, "forbids-"));
  const begin = `import { changeTier, device, jit, matmul, tensor } from "sinan"; await device("cpu");`;
  const { stdout, stderr } = forbidding(place, process.execPath, "--input-type=module", "-e", begin + product);
  assert.equal(stdout, "native 7 10 15 22\n199 290 435 634\n");
  assert.match(stderr, /^sinan: the native cache .* is not used: .*; what is compiled is kept for this run only\n$/);
});
