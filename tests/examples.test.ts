/** The programs of `examples/`, run as people run them, on the interpreter and on the processor: what they print is checked for
 *  what they are about. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { globSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

const root = path.resolve(import.meta.dirname, "..");

interface Case {
  readonly args?: Readonly<Record<string, readonly string[]>>;
  /** Throws unless the output is that of a program that did what it says. */
  readonly check: (output: string, device: string) => void;
}

const number = (text: string, pattern: RegExp): number => {
  const found = pattern.exec(text)?.[1];
  assert.ok(found !== undefined, `no ${String(pattern)} in:\n${text}`);
  return Number(found);
};

const cases: Readonly<Record<string, Case>> = {
  "linear.ts": {
    check(output) {
      // y = 3x − 2 with noise of 0.1 on 64 points: the fit's own error is about 0.1 / √64 and twice that.
      assert.ok(Math.abs(number(output, /y = (-?[\d.]+) x/) - 3) < 0.08, output);
      assert.ok(Math.abs(number(output, /x \+ (-?[\d.]+)/) + 2) < 0.04, output);
      assert.ok(number(output, /step 100 {2}loss ([\d.]+)/) < 0.015, output);
    },
  },
  "mlp.ts": {
    check(output, device) {
      assert.ok(number(output, /step 0 {2}loss ([\d.]+)/) > 0.5, output);
      assert.ok(number(output, /step 150 {2}loss ([\d.]+)/) < 0.01, output);
      assert.ok(number(output, /([\d.]+) % of 256 points/) >= 99, output);
      assert.match(output, new RegExp(`on ${device}$`, "m"));
    },
  },
  "train-llama.ts": {
    args: { interpreter: ["20"] },
    check(output, device) {
      const bits = number(output, /held-out bits per byte ([\d.]+), of/);
      const unigram = number(output, /of unigrams ([\d.]+)/);
      const first = number(output, /step +1\/\d+ {2}loss ([\d.]+)/);
      // A fresh model gives each of the 320 ids about the same probability.
      assert.ok(Math.abs(first - Math.log(320)) < 0.2, output);
      if (device === "interpreter") assert.ok(number(output, /held-out loss ([\d.]+)/) < first - 0.8, output);
      else assert.ok(bits < 0.95 * unigram, output);
      assert.match(output, /^There she./m);
    },
  },
};

test("every example is tested", () => {
  assert.deepEqual(globSync("*.ts", { cwd: path.join(root, "examples") }).sort(), Object.keys(cases).sort());
});

for (const [file, { args = {}, check }] of Object.entries(cases))
  for (const device of ["interpreter", "cpu"])
    test(`examples/${file} on ${device}`, async () => {
      const { code, output } = await run(file, args[device] ?? [], device);
      assert.equal(code, 0, output);
      check(output, device);
    });

function run(file: string, args: readonly string[], device: string): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, SINAN_DEVICE: device };
    const child = spawn(process.execPath, [path.join("examples", file), ...args], { cwd: root, env });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => (output += text));
    child.on("error", reject).on("close", (code) => resolve({ code, output }));
  });
}
