/** `npm run docs`: the reference of every package's exports from their comments, as Markdown in `docs/api`. Nothing of it is committed:
 *  it is made of the declarations that the compiler writes, and is as old as they are. */
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { exportReader } from "./api/exports.ts";
import { entriesOf, referencePage } from "./api/markdown.ts";
import { packageEntries, root } from "./api/packages.ts";

const staging = path.join(root, ".build", "api");
const target = path.join(root, "docs", "api");

rmSync(staging, { recursive: true, force: true });
const compiler = path.join(root, "node_modules/typescript/bin/tsc");
const options = ["-p", "tsconfig.build.json", "--emitDeclarationOnly", "--outDir", staging];
const compiled = spawnSync(process.execPath, [compiler, ...options], { cwd: root, stdio: "inherit" });
if (compiled.status !== 0) process.exit(compiled.status ?? 1);

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
const read = exportReader(".d.ts");
const rows = packageEntries().map(({ entry, file, home }) => {
  const exported = read(path.join(staging, file.replace(/\.ts$/, ".d.ts")));
  const sourceOf = (declared: string): string =>
    path
      .relative(staging, declared)
      .replaceAll("\\", "/")
      .replace(/\.d\.ts$/, ".ts");
  const page = `${entry.replace("@", "").replaceAll("/", "-")}.md`;
  const text = referencePage(exported, {
    entry,
    source: ({ file }) => `../../${sourceOf(file)}`,
    // `core/src/tensor/jit.ts` is in the room `tensor`
    room: ({ file }) => /^src\/([\w-]+)\//.exec(sourceOf(file).slice(home.length + 1))?.[1] ?? "package",
  });
  writeFileSync(path.join(target, page), text);
  const count = entriesOf(exported).length;
  console.log(`${entry}: ${count} exports → ${path.relative(root, path.join(target, page))}`);
  return `| [\`${entry}\`](${page}) | ${count} |`;
});
writeFileSync(
  path.join(target, "README.md"),
  `# Reference\n\n| import from | exports |\n|---|---|\n${rows.join("\n")}\n`,
);
rmSync(staging, { recursive: true, force: true });
