/** The `@example`s of core's docstrings: one that ends in `// value` is run and must give that value, to the digits it prints;
 *  the others are run as far as they stand alone. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import path from "node:path";
import { test } from "node:test";
import { compileFunction } from "node:vm";
import * as sinan from "../core/src/index.ts";

const root = path.resolve(import.meta.dirname, "..");

interface Example {
  /** `core/src/nn/losses.ts:46` */
  readonly at: string;
  readonly code: string;
  /** A number, or nested lists of numbers. */
  readonly value: unknown;
}

/** The text of each `@example`, up to the next tag or the end of its comment, without the comment's margin. */
function* examplesIn(file: string): Generator<Example> {
  const text = readFileSync(path.join(root, file), "utf8");
  for (const match of text.matchAll(/@example\s([\s\S]*?)(?=\*\/|\n\s*\*\s*@)/g)) {
    const whole = (match[1] ?? "").replaceAll(/^\s*\*/gm, "").trim();
    const [code = "", comment = ""] = whole.split(/\s+\/\/ (?=[^\n]*$)/);
    const value = /^(-?\d[\d.e-]*|\[[-\d.,e[\] ]*\])$/.test(comment) ? comment : undefined;
    const line = text.slice(0, match.index).split("\n").length;
    yield { at: `${file}:${line}`, code, value: value === undefined ? undefined : JSON.parse(value) };
  }
}

const { nn, optim } = sinan;
const names: Readonly<Record<string, unknown>> = {
  ...optim,
  ...nn,
  ...nn.functional,
  ...sinan,
  functional: nn.functional,
};

/** Runs statements and gives the value of the last expression. What `map` or `linear` mean depends on the file. */
async function run(code: string, file: string): Promise<unknown> {
  const room: Readonly<Record<string, unknown>> = file.includes("/optim/")
    ? optim
    : file.endsWith("/tree.ts")
      ? sinan.tree
      : {};
  const scope = { ...names, ...room };
  const statements = stripTypeScriptTypes(code).trim().replace(/;$/, "");
  const last = statements.lastIndexOf(";") + 1;
  const forms = [
    `return (${statements});`,
    `${statements.slice(0, last)} return (${statements.slice(last)});`,
    statements,
  ];
  for (const form of forms) {
    let compiled: (...values: unknown[]) => unknown;
    try {
      const body = `"use strict"; return (async () => { ${form}\n })();`;
      compiled = compileFunction(body, Object.keys(scope)) as typeof compiled;
    } catch (error) {
      if (form === statements) throw error;
      continue;
    }
    return await compiled(...Object.values(scope));
  }
  return undefined;
}

/** Equal to the digits that the expected number is written with, at most four. */
function closeTo(actual: unknown, expected: unknown, where: string): void {
  if (Array.isArray(expected)) {
    assert.ok(Array.isArray(actual) && actual.length === expected.length, `${where}: got ${JSON.stringify(actual)}`);
    expected.forEach((e, i) => closeTo(actual[i], e, where));
  } else {
    const off = Math.abs(Number(actual) - Number(expected));
    assert.ok(
      off <= 6e-5 * Math.max(1, Math.abs(Number(expected))),
      `${where}: expected ${String(expected)}, got ${String(actual)}`,
    );
  }
}

const examples = globSync("core/src/{tensor,nn,optim,data}/*.ts", { cwd: root })
  .map((file) => file.replaceAll("\\", "/"))
  .sort()
  .filter((file) => !file.endsWith(".test.ts"))
  .flatMap((file) => [...examplesIn(file)]);

test("examples of docstrings that state a value give it", async () => {
  const stated = examples.filter(({ value }) => value !== undefined);
  assert.ok(stated.length >= 12, `only ${stated.length} examples state a value`);
  for (const { at, code, value } of stated) {
    const result = await run(code, at.split(":")[0] ?? "");
    closeTo(result instanceof sinan.Tensor ? await result.toArray() : result, value, `${at}: ${code}`);
  }
});

test("examples of docstrings that stand alone run", async () => {
  let ran = 0;
  for (const { at, code, value } of examples) {
    if (value !== undefined || code.includes("…")) continue;
    try {
      await run(code, at.split(":")[0] ?? "");
      ran++;
    } catch (error) {
      // `model` or `ids` of the reader's own: not to be had here.
      if (!(error instanceof ReferenceError)) throw new Error(`${at}: ${code}`, { cause: error });
    }
  }
  assert.ok(ran >= 8, `only ${ran} examples stand alone`);
});
