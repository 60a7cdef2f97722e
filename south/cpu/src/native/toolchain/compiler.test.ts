/** Compilers that are old, hang, crash or answer nonsense are refused in one line; what a good one says is asked once. */
import assert from "node:assert/strict";
import { readFileSync, rmSync, symlinkSync, utimesSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { type Compiler, findCompiler, type FindOptions, type Refusal } from "./compiler.ts";
import { callsIn, type Fake, fakeCompiler, isAlive, macros, noShell, temporary } from "./fake-compiler.fixture.ts";
import { openStore } from "../store/store.ts";

const folder = temporary();
let count = 0;

/** What is found where the variables are only these, with a cache of its own unless one is given. */
function find(environment: Record<string, string>, options: Partial<FindOptions> = {}): Promise<Compiler | Refusal> {
  const cache = { SINAN_CACHE: path.join(folder, `cache-${count++}`) };
  return findCompiler({ store: openStore({ environment: { ...cache, ...environment } }), environment, ...options });
}

async function refusal(fake: Fake, timeoutMs = 10_000): Promise<Refusal> {
  const compiler = fakeCompiler(path.join(folder, `fake-${count++}`), "cc", fake);
  const found = await find({ SINAN_CC: compiler }, { timeoutMs });
  assert.ok("refused" in found, "it was taken");
  assert.ok(found.text.startsWith(`no C compiler: ${compiler} `), found.text);
  assert.doesNotMatch(found.text, /\n/);
  return { ...found, text: found.text.replace(`no C compiler: ${compiler} `, "") };
}

const defining = (others: Record<string, string | undefined>): string =>
  Object.entries({ ...macros, ...others })
    .flatMap(([name, value]) => (value === undefined ? [] : [`echo '#define ${name} ${value}'`]))
    .join("; ");

const refused: readonly [what: string, fake: Fake, reason: Refusal["refused"], text: RegExp][] = [
  ["ends with an error", { version: "echo no license >&2; exit 3" }, "failed", /^ended with code 3: no license$/],
  ["crashes", { version: "kill -SEGV $$" }, "killed", /^was ended by SIGSEGV$/],
  ["crashes at its macros", { macros: "kill -ABRT $$" }, "killed", /^was ended by SIGABRT$/],
  ["hangs", { version: "sleep 30" }, "timeout", /^does not answer within 0.3 s$/],
  ["hangs at its macros", { macros: "sleep 30" }, "timeout", /^does not answer within 0.3 s$/],
  ["prints without end", { version: "while echo version; do :; done" }, "timeout", /within 0.3 s$/],
  [
    "is gcc 8",
    { macros: defining({ __GNUC__: "8" }) },
    "too-old",
    /^is gcc 8, which is too old: 9 or newer is needed$/,
  ],
  ["is clang 8", { macros: defining({ __clang__: "1", __clang_major__: "8" }) }, "too-old", /^is clang 8, which/],
  ["answers nonsense", { macros: "head -c 5000 /dev/urandom" }, "garbage", /^answers with something that no gcc/],
  ["answers nothing", { macros: ":" }, "garbage", /^answers with something that no gcc/],
  ["builds for 32 bits", { macros: defining({ __SIZEOF_POINTER__: "4" }) }, "other-target", /^builds for another/],
  [
    "builds for another system",
    { macros: defining({ __linux__: undefined, __APPLE__: undefined, _WIN32: "1" }) },
    "other-target",
    /^builds for another machine than this one, which is \w+ on \w+$/,
  ],
  [
    "has no headers",
    { build: "echo 'math.h: No such file' >&2; exit 1" },
    "failed",
    /^does not build a few lines of C: it ended with code 1: math.h: No such file$/,
  ],
  ["builds nothing", { build: ":" }, "garbage", /^made of a few lines of C what cannot be loaded: there is nothing$/],
  ["builds text", { build: 'yes | head -100 > "$out"' }, "garbage", /cannot be loaded: it is no object file$/],
  ["builds half", { build: 'head -c 2000 "$object" > "$out"' }, "garbage", /cannot be loaded: its end is missing$/],
  ["shouts", { version: "yes error | head -c 5000000 >&2; exit 1" }, "failed", /^ended with code 1: error$/],
];
for (const [what, fake, reason, text] of refused)
  test(`a compiler that ${what} is refused`, { skip: noShell }, async () => {
    const { refused, text: said } = await refusal(fake, reason === "timeout" ? 300 : undefined);
    assert.equal(refused, reason);
    assert.match(said, text);
  });

test("a compiler that hangs is waited for once a day, or until somebody wants it asked again", {
  skip: noShell,
}, async () => {
  const calls = path.join(folder, `calls-${count++}`);
  const compiler = fakeCompiler(path.join(folder, `fake-${count++}`), "cc", {
    version: `echo >> '${calls}'; sleep 30`,
  });
  const environment = { SINAN_CC: compiler, SINAN_CACHE: path.join(folder, `cache-${count++}`) };
  const text = async (timeoutMs = 300): Promise<string> => {
    const found = await find(environment, { timeoutMs });
    assert.ok("refused" in found && found.refused === "timeout");
    return found.text;
  };
  const asked = (): number => readFileSync(calls, "utf8").length;
  assert.match(await text(), /cc does not answer within 0.3 s$/);
  const [, kept = ""] = /within 0.3 s \(found within the last day; .* remove (.*)\)$/.exec(await text()) ?? [];
  assert.equal(asked(), 1);
  await text(301); // who gives it more time wants to know
  assert.equal(asked(), 2);
  rmSync(kept);
  assert.match(await text(), /within 0.3 s$/);
  assert.equal(asked(), 3);
  utimesSync(compiler, new Date(), new Date(1)); // another compiler, for all that is known
  await text();
  assert.equal(asked(), 4);
});

test("a processor that the command names is the one that is compiled for", async (t) => {
  const { PATH = "" } = process.env;
  const [own, old] = await Promise.all(["gcc", "gcc -march=x86-64-v2"].map((SINAN_CC) => find({ PATH, SINAN_CC })));
  if (process.arch !== "x64" || !own || "refused" in own) return t.skip("there is no gcc for x64");
  assert.ok(old && "macros" in old);
  assert.deepEqual(old.flags, []);
  assert.ok("__SSE4_2__" in old.macros && !("__AVX__" in old.macros));
  assert.notEqual(old.identity, own.identity);
});

test("a compiler that hung the day before is asked", { skip: noShell }, async (t) => {
  const compiler = fakeCompiler(path.join(folder, `fake-${count++}`), "cc", { version: "sleep 30" });
  const environment = { SINAN_CC: compiler, SINAN_CACHE: path.join(folder, `cache-${count++}`) };
  const find300 = () => find(environment, { timeoutMs: 300 });
  const texts = [await find300()];
  const now = Date.now();
  t.mock.method(Date, "now", () => now + 23 * 3_600_000);
  texts.push(await find300());
  t.mock.method(Date, "now", () => now + 25 * 3_600_000);
  texts.push(await find300());
  assert.deepEqual(
    texts.map((found) => "text" in found && /last day/.test(found.text)),
    [false, true, false],
  );
});

test("a compiler that hangs is ended with all that it started", { skip: noShell }, async () => {
  const child = path.join(folder, "child");
  await refusal({ version: `sleep 30 & echo $! > '${child}'; wait` }, 300);
  const id = Number(readFileSync(child, "utf8"));
  assert.ok(id > 1);
  for (let i = 0; i < 40 && isAlive(id); i++) await new Promise((done) => setTimeout(done, 50));
  assert.ok(!isAlive(id));
});

test("where there is none, a line says what was looked for", async () => {
  const none = await find({ PATH: folder });
  assert.deepEqual(none, {
    refused: "none",
    text: "no C compiler: there is none of cc, gcc and clang on the path; SINAN_CC may name one",
  });
  const named = await find({ SINAN_CC: "no-such-cc", PATH: process.env["PATH"] ?? "" });
  assert.deepEqual(named, {
    refused: "none",
    text: 'no C compiler: SINAN_CC is "no-such-cc", and there is no such program',
  });
});

test("cc, gcc and clang are tried in this order, each program once", { skip: noShell }, async () => {
  const PATH = path.join(folder, "path");
  const clang = fakeCompiler(PATH, "clang", { macros: defining({ __clang__: "1", __clang_major__: "17" }) });
  fakeCompiler(PATH, "gcc", { version: "exit 1" });
  symlinkSync(path.join(PATH, "gcc"), path.join(PATH, "cc"));
  const found = await find({ PATH: `relative:${PATH}` });
  assert.ok(!("refused" in found));
  assert.equal(found.path, clang);
  assert.equal(found.kind, "clang");
  assert.equal(found.version, "fake 12.0");
  assert.equal(found.macros["__FAST__"], "1");
  rmSync(clang);
  const none = await find({ PATH });
  assert.equal("refused" in none && none.text, `no C compiler: ${PATH}/cc ended with code 1`);
  fakeCompiler(PATH, "cc-12");
  assert.ok(!("refused" in (await find({ PATH, SINAN_CC: "cc-12 -m64" }))));
  assert.match(readFileSync(path.join(PATH, "calls"), "utf8"), /^-m64 --version$/m);
});

test("one that knows no -march=native is asked without", { skip: noShell }, async () => {
  const home = path.join(folder, "plain");
  const macros = `case "$*" in *native*) exit 1;; esac; cat '${home}/macros'`;
  const found = await find({ SINAN_CC: fakeCompiler(home, "cc", { macros }) });
  assert.deepEqual("refused" in found ? found : found.flags, []);
});

test("a warm start runs no process, until the compiler, the processor or the flags of the environment change", {
  skip: noShell,
}, async () => {
  const home = path.join(folder, "warm");
  const environment: Record<string, string> = {
    SINAN_CC: fakeCompiler(home, "cc"),
    SINAN_CACHE: path.join(folder, "warm-cache"),
  };
  const identity = async (more: Record<string, string> = {}, options: Partial<FindOptions> = {}): Promise<string> => {
    const found = await find({ ...environment, ...more }, options);
    assert.ok(!("refused" in found));
    return found.identity;
  };
  const first = await identity();
  const calls = callsIn(home);
  assert.equal(calls, 3);
  assert.equal(await identity(), first);
  assert.equal(callsIn(home), calls);
  assert.notEqual(await identity({ CPATH: "/opt/include" }), first);
  assert.equal(callsIn(home), 2 * calls);
  await identity({}, { processor: "another" });
  assert.equal(callsIn(home), 3 * calls);
  utimesSync(path.join(home, "cc"), 1e9, 1e9);
  assert.notEqual(await identity(), first);
  assert.equal(callsIn(home), 4 * calls);
});

test("where the cache's disk is full, the compiler is tried elsewhere", { skip: noShell }, async () => {
  const cache = path.join(folder, "full-cache");
  const home = path.join(folder, "full");
  const full = `case $PWD in ${cache}/*) echo 'trial.o: No space left on device' >&2; exit 1;; esac`;
  const environment = { SINAN_CC: fakeCompiler(home, "cc", { build: `${full}; cp "$object" "$out"` }) };
  const warnings: string[] = [];
  const store = openStore({ environment: { SINAN_CACHE: cache }, onWarning: (line) => warnings.push(line) });
  const found = await findCompiler({ store, environment });
  assert.ok(!("refused" in found));
  assert.match(warnings.join("\n"), /^the native cache .*full-cache is not used: No space left on device; [^\n]*$/);
  const calls = callsIn(home);
  await findCompiler({ store, environment });
  assert.equal(callsIn(home), calls);
  const never = fakeCompiler(home, "cc", { build: "echo 'No space left on device' >&2; exit 1" });
  const none = await find({ SINAN_CC: never });
  assert.equal("refused" in none && none.refused, "no-space");
});
