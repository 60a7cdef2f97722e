/** The programs of `examples/`, run as people run them, on the interpreter and on the processor: what they print is checked for
 *  what they are about. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { globSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

const root = path.resolve(import.meta.dirname, "..");

interface Case {
  /** Default: the interpreter and the processor. */
  readonly devices?: readonly string[];
  readonly args?: Readonly<Record<string, readonly string[]>>;
  /** Throws unless the output is that of a program that did what it says. */
  readonly check: (output: string, device: string) => void;
}

const number = (text: string, pattern: RegExp): number => {
  const found = pattern.exec(text)?.[1];
  assert.ok(found !== undefined, `no ${String(pattern)} in:\n${text}`);
  return Number(found);
};

/** The whole of what takes long in `npm run test:devices`, a part of it otherwise. */
const whole = process.env["SINAN_TEST_DEVICES"] === "all";

const cases: Readonly<Record<string, Case>> = {
  "custom-op.ts": {
    check(output) {
      assert.match(output, /plain .* nan\]/);
      // The sigmoid at −2, 0, 3 and 100.
      const values = /rule \[([^\]]*)\]/.exec(output)?.[1]?.trim().split(/\s+/).map(Number) ?? [];
      [0.11920292, 0.5, 0.95257413, 1].forEach((y, i) => assert.ok(Math.abs((values[i] ?? 9) - y) < 1e-6, output));
      assert.ok(Math.abs(number(output, /second derivative at 0: ([\d.]+)/) - 0.25) < 1e-6, output);
    },
  },
  "linear.ts": {
    check(output) {
      // y = 3x − 2 with noise of 0.1 on 64 points: the fit's own error is about 0.1 / √64 and twice that.
      assert.ok(Math.abs(number(output, /y = (-?[\d.]+) x/) - 3) < 0.08, output);
      assert.ok(Math.abs(number(output, /x \+ (-?[\d.]+)/) + 2) < 0.04, output);
      assert.ok(number(output, /mean square ([\d.]+)/) < 0.015, output);
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
  "mnist.ts": {
    devices: ["cpu"],
    args: whole ? {} : { cpu: ["120", "1000"] },
    check: (output) => assert.ok(number(output, /([\d.]+) % of \d+ test images/) >= (whole ? 98 : 88), output),
  },
  "per-example-gradients.ts": {
    check(output) {
      assert.ok(number(output, /less the batch's: (\S+)/) < 1e-5, output);
      assert.match(output, /the largest gradient is that of example 13, /);
      assert.ok(number(output, /norm of the clipped sum: ([\d.]+)/) <= 32, output);
    },
  },
  "speeches.ts": {
    devices: ["cpu"],
    args: whole ? {} : { cpu: ["150"] },
    check(output) {
      const bits = [...output.matchAll(/([\d.]+) bits per byte of speeches, ([\d.]+) of the novel/g)];
      const [before, after] = bits.map(([, speeches, novel]) => Number(novel) - Number(speeches));
      // A model of speeches predicts speeches better; the novel takes that advantage away.
      assert.ok(before !== undefined && before > 0.3, output);
      assert.ok(after !== undefined && after < before - 0.3, output);
      assert.equal([...output.matchAll(/^ {2}I am/gm)].length, 2, output);
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

for (const [file, { args = {}, devices = ["interpreter", "cpu"], check }] of Object.entries(cases))
  for (const device of devices)
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
