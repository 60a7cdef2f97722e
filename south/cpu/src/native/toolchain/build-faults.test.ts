/** Builds that fail, hang or are cut short: an error says how, the rest is ended, and nothing is left behind. The compilers are scripts,
 *  and so are their units. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { ToolchainError } from "sinan/south";
import { build, type BuildOptions } from "./build.ts";
import { fakeCompiler, fakeFound, inCache, isAlive, noShell, temporary } from "./fake-compiler.fixture.ts";
import { openStore, type Store } from "../store/store.ts";

const folder = temporary();
const compiler = noShell ? undefined : await fakeFound(path.join(folder, "fake"));
const cores = availableParallelism();
let count = 0;

interface Built {
  readonly store: Store;
  readonly warnings: string[];
  /** Builds these scripts, named u0, u1 ... */
  readonly run: (scripts: readonly string[], options?: Partial<BuildOptions>) => ReturnType<typeof build>;
}

function newCache(): Built {
  const warnings: string[] = [];
  const environment = { SINAN_CACHE: path.join(folder, `cache-${count++}`) };
  const store = openStore({ environment, onWarning: (line) => warnings.push(line) });
  return {
    store,
    warnings,
    run: (scripts, options) => {
      assert.ok(compiler);
      const units = scripts.map((text, i) => ({ name: `u${i}`, text }));
      return build(compiler, units, { store, flags: [], timeoutMs: 10_000, ...options });
    },
  };
}

const good = 'cp "$object" "$out"';
const faults: readonly [what: string, script: string, reason: ToolchainError["reason"], text: RegExp][] = [
  ["hangs", "sleep 30", "timeout", /^the C compiler was ended after 0.2 s \(unit u0\)/],
  ["crashes", "kill -SEGV $$", "killed", /^the C compiler was ended by SIGSEGV/],
  ["makes nothing", "echo warning >&2", "no-output", /says that all is well, and made nothing \(unit u0\):\nwarning\n/],
  ["makes text", 'echo text > "$out"', "garbage", /made what cannot be loaded: it has only 5 bytes/],
  ["makes an empty file", ': > "$out"', "garbage", /made what cannot be loaded: it is empty/],
  ["makes half an object", 'head -c 3000 "$object" > "$out"', "garbage", /cannot be loaded: its end is missing/],
  ["fails after its output", `${good}; exit 1`, "refused", /ended with code 1/],
  ["shouts", "yes error | head -c 5000000 >&2; exit 1", "refused", /ended with code 1 \(unit u0\):\nerror\n/],
];
for (const [what, script, reason, text] of faults)
  test(`a compiler that ${what}`, { skip: noShell }, async () => {
    const { store, warnings, run } = newCache();
    await assert.rejects(run([script], reason === "timeout" ? { timeoutMs: 200 } : {}), (error) => {
      assert.ok(error instanceof ToolchainError, String(error));
      assert.equal(error.reason, reason);
      assert.equal(error.unit, "u0");
      assert.match(error.message, text);
      assert.match(error.message, /SINAN_CC/);
      assert.ok(error.log.split("\n").length <= 12);
      return true;
    });
    assert.deepEqual(inCache(store.directory ?? ""), []);
    assert.deepEqual(warnings, []);
  });

test("a compiler that is gone", { skip: noShell }, async () => {
  const home = path.join(folder, "gone");
  const gone = await fakeFound(home);
  rmSync(path.join(home, "cc"));
  const { store } = newCache();
  await assert.rejects(build(gone, [{ name: "u", text: good }], { store, flags: [] }), { reason: "not-started" });
  assert.deepEqual(inCache(store.directory ?? ""), []);
});

const alone = noShell || (cores < 2 ? "there is one core" : false);

test("one that fails ends the others, and what was done stays", { skip: alone }, async () => {
  const { store, run } = newCache();
  const id = path.join(folder, "slow");
  const slow = `sleep 30 & echo $! > '${id}'; wait`;
  const wrong = `while [ ! -s '${id}' ]; do sleep 0.05; done; exit 7`;
  const begin = performance.now();
  await assert.rejects(run([good.padEnd(200), slow.padEnd(200), wrong, "exit 8"], { jobs: 2 }), { unit: "u2" });
  assert.ok(performance.now() - begin < 8000);
  for (let i = 0; i < 40 && isAlive(Number(readFileSync(id))); i++) await sleep(50);
  assert.ok(!isAlive(Number(readFileSync(id))));
  const left = inCache(store.directory ?? "");
  assert.deepEqual(
    left.map((name) => path.basename(name).slice(0, 3)),
    ["u0."],
  );
});

test("a signal ends a build", { skip: noShell }, async () => {
  const { store, run } = newCache();
  const begun = path.join(folder, "begun");
  const stop = new AbortController();
  const building = run([`: > '${begun}'; sleep 30`], { signal: stop.signal });
  const ended = assert.rejects(building, /enough/);
  while (!existsSync(begun)) await sleep(10);
  stop.abort(new Error("enough"));
  await ended;
  assert.deepEqual(inCache(store.directory ?? ""), []);
  await assert.rejects(run([good], { signal: stop.signal }), /enough/);
});

/** Of a log with a line for each that begins or ends. */
function mostAtOnce(log: string): number {
  let [running, most] = [0, 0];
  for (const mark of readFileSync(log, "utf8").trim().split("\n")) {
    running += mark === "+" ? 1 : -1;
    most = Math.max(most, running);
  }
  return most;
}

test("as many at once as were asked for, equal ones once", { skip: noShell }, async () => {
  const { run } = newCache();
  const log = path.join(folder, "log");
  const scripts = Array.from(
    { length: 6 },
    (_, i) => `echo + >> '${log}'; sleep 0.1; echo - >> '${log}'; ${good}; : ${i >> 1}`,
  );
  const steps: [number, number][] = [];
  const built = await run([...scripts, good], {
    jobs: 2,
    onProgress: ({ done, total }) => steps.push([done, total]),
  });
  assert.equal(new Set(built.map(({ path: file }) => file)).size, 4);
  assert.deepEqual(steps, [
    [1, 4],
    [2, 4],
    [3, 4],
    [4, 4],
  ]);
  assert.ok(mostAtOnce(log) <= 2);
});

test("builds of one process share its cores", { skip: noShell }, async () => {
  const log = path.join(folder, "log-of-all");
  const script = (name: string): string => `echo + >> '${log}'; sleep 0.1; echo - >> '${log}'; ${good}; : ${name}`;
  const names = Array.from({ length: cores + 1 }, (_, i) => `${i}`);
  await Promise.all(["a", "b"].map((build) => newCache().run(names.map((name) => script(build + name)))));
  assert.ok(mostAtOnce(log) <= cores);
});

test("where the cache's disk is full for the compiler, it works elsewhere", { skip: noShell }, async () => {
  const { store, warnings, run } = newCache();
  const full = `case $PWD in ${folder}/*) echo 'u0.so: No space left on device' >&2; exit 1;; esac; ${good}`;
  const [built] = await run([full]);
  assert.ok(built && !built.path.startsWith(folder) && existsSync(built.path));
  assert.deepEqual(warnings, [
    `the native cache ${store.directory} is not used: No space left on device; what is compiled is kept for this run only`,
  ]);
  assert.deepEqual(await run([full]), [{ path: built.path, cached: true }]);
  assert.deepEqual(inCache(store.directory ?? ""), []);
  const everywhere = "echo 'No space left on device' >&2; exit 1";
  await assert.rejects(run([everywhere]), { reason: "no-space" });
});

/** A program that builds one unit with the fake compiler, and prints where it is. */
const program = (cache: string, text: string): string => `
  import { build } from ${JSON.stringify(pathToFileURL(path.join(import.meta.dirname, "build.ts")).href)};
  import { findCompiler } from ${JSON.stringify(pathToFileURL(path.join(import.meta.dirname, "compiler.ts")).href)};
  import { openStore } from ${JSON.stringify(pathToFileURL(path.join(import.meta.dirname, "../store/store.ts")).href)};
  const environment = { SINAN_CACHE: ${JSON.stringify(cache)}, SINAN_CC: ${JSON.stringify(compiler?.command[0])} };
  const store = openStore({ environment, onWarning: console.log });
  const compiler = await findCompiler({ store, environment });
  const [one] = await build(compiler, [{ name: "u", text: ${JSON.stringify(text)} }], { store, flags: [] });
  console.log(one.cached, one.path);`;

function start(
  cache: string,
  text: string,
  before = "",
): { readonly id: number; readonly ended: Promise<[string, number | null]> } {
  const child = spawn(process.execPath, ["--input-type=module", "-e", before + program(cache, text)], {
    cwd: import.meta.dirname,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (out += chunk.toString()));
  return { id: child.pid ?? 0, ended: once(child, "close").then(([code]) => [out.trim(), code as number | null]) };
}

test("two processes that build the same at once", { skip: noShell }, async () => {
  const cache = path.join(folder, "shared");
  // Each waits until both are at work.
  const both = `echo >> '${folder}/at-work'; while [ $(wc -l < '${folder}/at-work') -lt 2 ]; do sleep 0.02; done; ${good}`;
  const ends = await Promise.all([start(cache, both).ended, start(cache, both).ended]);
  for (const [out, code] of ends) {
    assert.equal(code, 0, out);
    assert.match(out, /^false /);
  }
  assert.equal(ends[0]?.[0], ends[1]?.[0]);
  const names = inCache(cache).map((name) => path.basename(name).split(".")[0] ?? "");
  assert.deepEqual(new Set(names), new Set(["compiler", "u"]));
  assert.equal(names.length, 2);
});

test("a process that is killed while it builds leaves nothing that the next one trips over", {
  skip: noShell,
}, async () => {
  const cache = path.join(folder, "killed");
  const begun = path.join(folder, "killed-begun");
  const slow = `if [ ! -e '${begun}' ]; then head -c 2000 "$object" > "$out"; : > '${begun}'; sleep 1; fi; ${good}`;
  const first = start(cache, slow);
  while (!existsSync(begun)) await sleep(20);
  process.kill(first.id, "SIGKILL");
  await first.ended;
  assert.equal(inCache(cache).filter((name) => /^work-[^/]*$/.test(name)).length, 1);
  const [out, code] = await start(cache, slow).ended;
  assert.equal(code, 0, out);
  assert.match(out, /^false .*\/u\.\w+\.\w+\.so$/);
});

for (const [how, line] of [
  ["exits", "process.exit(5)"],
  ["is told to end", 'process.kill(process.pid, "SIGTERM")'],
] as const)
  test(`a process that ${how} while it builds takes everything with it`, { skip: noShell }, async () => {
    const [cache, begun, id] = ["ended", "begun", "id"].map((name) =>
      path.join(folder, `${name}-${how.replaceAll(" ", "-")}`),
    ) as [string, string, string];
    const text = `sleep 30 & echo $! > '${id}'; : > '${begun}'; wait`;
    const ends = `import { existsSync } from "node:fs";
  setInterval(() => existsSync(${JSON.stringify(begun)}) && ${line}, 10);`;
    const [out, code] = await start(cache, text, ends).ended;
    assert.equal(code, how === "exits" ? 5 : null, out);
    if (how === "exits")
      assert.deepEqual(
        inCache(cache).filter((name) => name.startsWith("work-")),
        [],
      );
    for (let i = 0; i < 40 && isAlive(Number(readFileSync(id))); i++) await sleep(50);
    assert.ok(!isAlive(Number(readFileSync(id))));
  });

test("what could not be kept goes with the process that made it", { skip: noShell }, async () => {
  const cache = fakeCompiler(path.join(folder, "not-a-directory"), "file");
  const [out, code] = await start(cache, good).ended;
  assert.equal(code, 0, out);
  const [warning = "", line = "", more] = out.split("\n");
  assert.match(warning, /^the native cache .* is not used: .*file is not a directory/);
  assert.equal(more, undefined);
  assert.match(line, /^false \//);
  assert.ok(!existsSync(path.dirname(line.slice("false ".length))));
});
