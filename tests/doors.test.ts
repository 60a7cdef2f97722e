/** The doors `north → core ← south`: the rules of .dependency-cruiser.json hold of the sources, and each of them really
 *  stops what it is there for. Violations are planted in a copy, in every form an import can take. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

const root = path.resolve(import.meta.dirname, "..");
const cruiser = path.join(root, "node_modules/dependency-cruiser/bin/dependency-cruise.mjs");
const linter = path.join(root, "node_modules/oxlint/bin/oxlint");
const rooms = ["core", "south", "north"];

/** npm name → folder of each package. */
const packages = new Map(
  globSync("{core,south/*,north/*}/package.json", { cwd: root }).map((file) => {
    const { name } = JSON.parse(readFileSync(path.join(root, file), "utf8")) as { name: string };
    return [name, path.dirname(file)];
  }),
);

/** The linter looks for its type-aware half on the path. */
const env = {
  ...process.env,
  PATH: path.join(root, "node_modules/.bin") + path.delimiter + (process.env["PATH"] ?? ""),
  NO_COLOR: "1",
  FORCE_COLOR: "0",
};

let copy = "";

before(() => {
  copy = mkdtempSync(path.join(tmpdir(), "sinan-doors-"));
  for (const room of rooms)
    cpSync(path.join(root, room), path.join(copy, room), {
      recursive: true,
      filter: (file) => !/[/\\](dist|node_modules|fixtures)$/.test(file),
    });
  for (const file of [
    ".dependency-cruiser.json",
    ".oxlintrc.json",
    "package.json",
    "tsconfig.base.json",
    "tsconfig.json",
  ])
    cpSync(path.join(root, file), path.join(copy, file));
  mkdirSync(path.join(copy, "node_modules/@sinan"), { recursive: true });
  for (const name of readdirSync(path.join(root, "node_modules")))
    if (name !== "sinan" && name !== "@sinan" && !name.startsWith("."))
      symlinkSync(path.join(root, "node_modules", name), path.join(copy, "node_modules", name), "junction");
  for (const [name, home] of packages)
    symlinkSync(path.join(copy, home), path.join(copy, "node_modules", name), "junction");
});

after(() => rmSync(copy, { recursive: true, force: true }));

function cruise(cwd: string): { status: number | null; text: string } {
  const run = spawnSync(process.execPath, [cruiser, "--config", ".dependency-cruiser.json", ...rooms], {
    cwd,
    encoding: "utf8",
    env,
  });
  return { status: run.status, text: run.stdout + run.stderr };
}

/** Writes the files, gives what `look` sees, takes them away. */
function planted<T>(files: Record<string, string>, look: () => T): T {
  try {
    for (const [file, text] of Object.entries(files)) writeFileSync(path.join(copy, file), text);
    return look();
  } finally {
    for (const file of Object.keys(files)) rmSync(path.join(copy, file), { force: true });
  }
}

test("the sources keep the doors, and the cruiser sees their edges", () => {
  const { status, text } = cruise(root);
  assert.equal(status, 0, text);
  const [, modules = "0", edges = "0"] = /(\d+) modules, (\d+) dependencies cruised/.exec(text) ?? [];
  // Without a parser for TypeScript the cruiser finds the modules and none of their edges, and is content.
  assert.ok(Number(modules) > 20 && Number(edges) > Number(modules), text);
});

test("every door stops value, type, dynamic and re-exporting imports", () => {
  const violations: [rule: string, from: string, source: string, to: RegExp][] = [
    ["core-stands-alone", "core/src/p1.ts", 'import { readFile } from "node:fs";\nexport { readFile };\n', /fs/],
    [
      "core-stands-alone",
      "core/src/p2.ts",
      'import type { Socket } from "node:net";\nexport type A = Socket;\n',
      /net/,
    ],
    ["core-stands-alone", "core/src/p3.ts", 'export * from "fast-check";\n', /fast-check/],
    ["core-stands-alone", "core/src/p4.ts", 'export const cpu = await import("@sinan/cpu");\n', /south\/cpu/],
    ["core-tests-stay-in-core", "core/src/p5.test.ts", 'import "@sinan/train";\n', /north\/train/],
    [
      "south-not-to-north",
      "south/cpu/src/p6.ts",
      'import type { A } from "@sinan/llm";\nexport type B = A;\n',
      /north\/llm/,
    ],
    ["south-not-to-north", "south/sim/src/p7.test.ts", 'import * as llm from "@sinan/llm";\nllm;\n', /north\/llm/],
    ["north-not-to-south", "north/llm/src/p8.ts", 'import { cpu } from "@sinan/cpu";\ncpu;\n', /south\/cpu/],
    ["north-not-to-south", "north/train/src/p9.ts", 'export type { A } from "@sinan/sim";\n', /south\/sim/],
    [
      "by-the-front-door",
      "north/llm/src/p10.ts",
      'export * from "../../../core/src/errors.ts";\n',
      /core\/src\/errors\.ts/,
    ],
    ["resolvable", "north/llm/src/p11.ts", 'import "sinan/no-such-entry";\n', /sinan\/no-such-entry/],
    ["tests-are-leaves", "core/src/p12.ts", 'import "./p5.test.ts";\n', /p5\.test\.ts/],
  ];
  const files = Object.fromEntries(violations.map(([, from, source]) => [from, source]));
  const { status, text } = planted(files, () => cruise(copy));
  assert.notEqual(status, 0);
  const lines = text.split("\n");
  for (const [rule, from, , to] of violations)
    assert.ok(
      lines.some((line) => line.includes(`error ${rule}: ${from} → `) && to.test(line.split("→")[1] ?? "")),
      `${rule} let ${from} through:\n${text}`,
    );
});

test("a cycle of imports fails the lint, a cycle of types alone does not", () => {
  const lint = (a: string, b: string) =>
    planted({ "core/src/p1.ts": a, "core/src/p2.ts": b }, () =>
      spawnSync(process.execPath, [linter, "core/src/p1.ts", "core/src/p2.ts"], { cwd: copy, encoding: "utf8", env }),
    );
  const b = 'import { one } from "./p1.ts";\nexport type Two = 2;\nexport const two = (): number => one + 1;\n';
  const cycle = lint(
    'import { two } from "./p2.ts";\nexport const one = 1;\nexport const three = (): number => two() + one;\n',
    b,
  );
  assert.notEqual(cycle.status, 0);
  assert.match(cycle.stdout, /import\(no-cycle\)/);
  const types = lint('import type { Two } from "./p2.ts";\nexport const one = 1;\nexport type Three = Two | 3;\n', b);
  assert.equal(types.status, 0, types.stdout);
});
