/** The packages as their readers' tools see them: types without `skipLibCheck`, and what publint and Are the Types Wrong say of the
 *  tarballs. Part of `npm run test:devices`; needs `npm run build`. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { absent, type Installed, install, root } from "./installed.ts";

const asked = process.env["SINAN_TEST_DEVICES"] === "all";
const skip = absent || (!asked && "it takes some seconds: npm run test:devices");

let installed: Installed = { folder: "", packages: [] };
before(() => {
  if (!skip) installed = install();
});
after(() => {
  if (installed.folder) rmSync(installed.folder, { recursive: true, force: true });
});

/** Every entry, and a program whose types must come out as they are written. */
const consumer = (entries: readonly string[]): string => `
${entries.map((entry, i) => `export * as entry${i} from "${entry}";`).join("\n")}
import { grad, jit, nn, type Tensor, tensor } from "sinan";
import { Trainer } from "@sinan/llm";

const model: nn.Layer = nn.sequential(nn.linear(2, 3), nn.relu);
const step = jit(({ x }: { x: Tensor }) => ({ y: x.mul(2), g: grad((t: Tensor) => t.square().sum())(x) }));
const { y, g }: { y: Tensor; g: Tensor } = step({ x: tensor([1]) });
const value: Promise<number> = y.item();
const trainer = new Trainer({ data: { text: "" } });
// @ts-expect-error: a tensor is no number
const wrong: number = g;
export { model, trainer, value, wrong };
`;

/** What the compiler says of the program in the empty project. */
function compiled(name: string, entries: readonly string[], ...options: readonly string[]): string {
  const file = path.join(installed.folder, `${name}.ts`);
  writeFileSync(file, consumer(entries));
  const compiler = path.join(root, "node_modules/typescript/bin/tsc");
  const args = [compiler, "--strict", "--noEmit", "--skipLibCheck", "false", "--target", "es2022", ...options, file];
  const { stdout, status } = spawnSync(process.execPath, args, { cwd: installed.folder, encoding: "utf8" });
  return status === 0 ? "" : stdout;
}

const all = (): string[] => installed.packages.flatMap(({ entries }) => [...entries]);

test("types for a bundler, with the libraries of a page", { skip }, () => {
  assert.equal(compiled("page", all(), "--module", "esnext", "--moduleResolution", "bundler", "--types", ""), "");
});

test("types for Node, with its types and no library of a page", { skip }, () => {
  const types = path.join(installed.folder, "node_modules");
  mkdirSync(path.join(types, "@types"), { recursive: true });
  for (const name of ["@types/node", "undici-types"])
    cpSync(path.join(root, "node_modules", name), path.join(types, name), { recursive: true });
  assert.equal(compiled("node", all(), "--module", "nodenext", "--lib", "es2024", "--types", "node"), "");
});

test("publint finds nothing in the tarballs", { skip }, async () => {
  for (const { name, tarball } of installed.packages) {
    const { messages, pkg } = await publint({ strict: true, pack: { tarball: bytesOf(tarball).buffer } });
    assert.deepEqual(
      messages.map((message) => formatMessage(message, pkg)),
      [],
      name,
    );
  }
});

/** Resolutions that the packages do not serve: they are modules, for Node 22 and newer. */
const unserved = new Set(["node10", "node16-cjs"]);

test("each entry has its types in every resolution that there is for modules", { skip }, async () => {
  for (const { name, tarball, entries } of installed.packages) {
    // What is nothing but a command has no entries.
    if (entries.length === 0) continue;
    const analysis = await checkPackage(createPackageFromTarballData(bytesOf(tarball)));
    assert.ok(analysis.types, name);
    assert.deepEqual(Object.keys(analysis.entrypoints).length, entries.length, name);
    assert.deepEqual(
      analysis.problems.filter((p) => !("resolutionKind" in p && unserved.has(p.resolutionKind))),
      [],
      name,
    );
  }
});

const bytesOf = (file: string): Uint8Array<ArrayBuffer> => new Uint8Array(readFileSync(file));
