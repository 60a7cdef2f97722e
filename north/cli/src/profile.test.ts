/** `sinan profile`: programs that end in every way, and what `perf` says on machines that count and machines that do not. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { countedIn, startCounters } from "./counters.ts";

const main = fileURLToPath(new URL("main.ts", import.meta.url));
const core = new URL("../../../core/src/index.ts", import.meta.url).href;
const folder = mkdtempSync(path.join(tmpdir(), "sinan-profile-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const begin = `import { jit, ones } from ${JSON.stringify(core)};
const twice = jit((x) => x.mul(2).tanh(), { name: "twice" });
let x = ones([64]);
for (let i = 0; i < 10; i++) x = twice(x);
console.log("first", (await x.data())[0], process.argv.slice(2).join());
`;

function program(name: string, end: string): string {
  const file = path.join(folder, `${name}.ts`);
  writeFileSync(file, begin + end);
  return file;
}

function sinan(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [main, "profile", ...args], { stdio: ["ignore", "pipe", "pipe"] });
    const said = { out: "", err: "" };
    child.stdout.on("data", (piece: Buffer) => {
      said.out += piece.toString();
      if (said.out.includes("interrupt me")) child.kill("SIGINT");
    });
    child.stderr.on("data", (piece: Buffer) => (said.err += piece.toString()));
    child.on("close", (code) => resolve({ code, ...said }));
  });
}

const row = /^tanh_mul_64 .* 10 /m;

test("a program is run with its arguments, and its kernels are told at its end, as a table, as JSON, as a trace", async () => {
  const file = program("plain", "");
  const trace = path.join(folder, "trace.json");
  const [table, json] = await Promise.all([
    sinan(file, "--trace", trace, "--", "--steps", "5"),
    sinan(file, "--json", "--device", "cpu"),
  ]);
  assert.equal(table.code, 0, table.err);
  assert.match(table.out, /^first 0\.9\d* --steps,5\n\nprofile: .*\ncpu.*roofline/s);
  assert.match(table.out, row);
  assert.match(table.out, /^counters: /m);
  assert.ok(
    table.out.split("\n").every((line) => line.length <= 80 || line.startsWith("counters")),
    table.out,
  );
  const { traceEvents } = JSON.parse(readFileSync(trace, "utf8")) as { traceEvents: { name: string; args?: object }[] };
  assert.equal(traceEvents.filter(({ name }) => name === "tanh_mul_64").length, 10);
  assert.equal(json.code, 0, json.err);
  assert.match(json.err, /^first 0\.9/);
  const { kernels, devices } = JSON.parse(json.out) as {
    kernels: { name: string; launches: number }[];
    devices: object[];
  };
  assert.equal(kernels.find(({ name }) => name === "tanh_mul_64")?.launches, 10);
  assert.equal(devices.length, 1);
});

test("a program that exits, throws, waits for ever or is interrupted is told of all the same", async () => {
  const [exits, throws, waits, interrupted, absent] = await Promise.all([
    sinan(program("exits", "process.exit(7);")),
    sinan(program("throws", 'throw new Error("its own");')),
    sinan(program("waits", "await new Promise(() => {});")),
    sinan(program("interrupted", 'setInterval(() => {}, 1e6); console.log("interrupt me");')),
    sinan(path.join(folder, "absent.ts")),
  ]);
  assert.deepEqual(
    [exits, throws, waits, interrupted, absent].map(({ code }) => code),
    [7, 1, 13, 130, 2],
    [exits, throws, waits, interrupted, absent].map(({ err }) => err).join("\n"),
  );
  for (const { out } of [exits, throws, waits, interrupted]) assert.match(out, row);
  assert.match(throws.err, /Error: its own\n {4}at .*throws\.ts:6/);
  assert.match(waits.err, /waits for what never comes/);
  assert.match(absent.err, /^UsageError: sinan profile: there is no file ".*absent\.ts"\n$/);
});

test("what perf counts is a line, and so is why it does not", async () => {
  const line = (value: string, event: string) => `${value};;${event};1000;100.00;;\n`;
  const all = countedIn(
    line("2000000000", "cycles:u") +
      line("5000000000", "instructions:u") +
      line("4000000", "cache-references:u") +
      line("1000000", "cache-misses:u"),
  );
  assert.deepEqual(all.counts, { cycles: 2e9, instructions: 5e9, "cache-references": 4e6, "cache-misses": 1e6 });
  assert.equal(
    all.text,
    "counters: 2.00 G cycles, 2.50 instructions a cycle, 25 % of 4.00 M reads of the last cache missed (the whole process)",
  );
  const none = countedIn(line("<not supported>", "cycles") + line("<not supported>", "instructions"));
  assert.deepEqual([none.counts, /perf says <not supported> for cycles/.test(none.text)], [null, true]);
  assert.match(countedIn("Error:\nNo permission to enable cycles event.\n").text, /none, as Error:/);
  assert.match(
    (await startCounters(process.pid, path.join(folder, "no-perf")).stop()).text,
    /no-perf is not installed/,
  );
  const fake = path.join(folder, "perf");
  writeFileSync(
    fake,
    `#!/bin/sh\ntrap 'printf "30;;cycles;1;100;;\\n60;;instructions;1;100;;\\n" >&2; exit 0' INT\n: > "$0.ready"\nwhile :; do sleep 0.02; done\n`,
  );
  chmodSync(fake, 0o700);
  const counters = startCounters(process.pid, fake);
  while (!existsSync(`${fake}.ready`)) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual((await counters.stop()).counts, { cycles: 30, instructions: 60 });
});
