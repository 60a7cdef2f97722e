/** `sinan tune`: what it keeps, also when it is interrupted, and what it refuses to begin with. No test depends on what is faster. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseTuning } from "sinan/tune";

const main = fileURLToPath(new URL("main.ts", import.meta.url));
const core = new URL("../../../core/src/index.ts", import.meta.url).href;
const folder = mkdtempSync(path.join(tmpdir(), "sinan-tune-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const file = path.join(folder, "program.ts");
writeFileSync(
  file,
  `import { jit, key, matmul, random } from ${JSON.stringify(core)};
const [x, w] = [random.normal(key(1), [24, 32]), random.normal(key(2), [32, 24])];
const y = jit((a, b) => matmul(matmul(a, b), a).tanh().sum(0))(x, w);
console.log("shape", y.shape, process.argv.slice(2).join());
await y.data();
if (process.argv[2] === "exit") process.exit(0);
`,
);

function sinan(args: readonly string[], onFirst?: (kill: () => void) => void) {
  return new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
    const child = spawn(process.execPath, [main, "tune", ...args], { stdio: ["ignore", "pipe", "pipe"] });
    const said = { out: "", err: "" };
    child.stdout.on("data", (piece: Buffer) => {
      // Twice would end it at once.
      if (said.out === "") onFirst?.(() => child.kill("SIGINT"));
      said.out += piece.toString();
    });
    child.stderr.on("data", (piece: Buffer) => (said.err += piece.toString()));
    child.on("close", (code) => resolve({ code, ...said }));
  });
}

const entriesOf = (out: string) => parseTuning(readFileSync(out, "utf8"), out).entries;

test("a program is run, its kernels are searched, and what was found is kept and added to", async () => {
  const out = path.join(folder, "kept.json");
  const first = await sinan([file, "--out", out, "--kernels", "1", "--seconds", "2", "--", "5"]);
  assert.equal(first.code, 0, first.err);
  assert.match(first.err, /shape .* 5/);
  assert.match(first.out, /kernels are faster; kept in .*kept\.json: SINAN_TUNING=/);
  const before = entriesOf(out);
  const more = await sinan([file, "--out", out, "--kernels", "9", "--seconds", "1", "--json"]);
  assert.equal(more.code, 0, more.err);
  const found = JSON.parse(more.out) as readonly { readonly kernel: string }[];
  assert.deepEqual(
    new Set(entriesOf(out).map(({ kernel }) => kernel)),
    new Set([...before, ...found].map(({ kernel }) => kernel)),
  );
});

test("Ctrl-C keeps what was found", async () => {
  const out = path.join(folder, "interrupted.json");
  const { code, err } = await sinan([file, "--out", out, "--kernels", "9", "--seconds", "60"], (kill) => kill());
  assert.equal(code, 130, err);
  assert.ok(entriesOf(out).length > 0);
});

test("a damaged file, a program that is not there and one that ends the process are refused in a line or two", async () => {
  const out = path.join(folder, "damaged.json");
  writeFileSync(out, "{}");
  const [damaged, absent, typo, exits] = await Promise.all([
    sinan([file, "--out", out]),
    sinan(["absent.ts"]),
    sinan(["trainin"]),
    sinan([file, "--out", path.join(folder, "exits.json"), "--", "exit"]),
  ]);
  assert.equal(damaged.code, 1);
  assert.match(damaged.err, /^FormatError: .*damaged\.json: expected "format": "sinan-tuning"/);
  assert.equal(readFileSync(out, "utf8"), "{}");
  assert.deepEqual([absent.code, typo.code], [2, 2]);
  assert.match(absent.err, /^UsageError: sinan tune: there is no file "absent\.ts"\n$/);
  assert.match(typo.err, /Did you mean training\?/);
  assert.match(exits.err, /nothing was tuned/);
  assert.ok(!existsSync(path.join(folder, "exits.json")));
});
