/** Imports every entry of every built package by its published name, away from the sources, under the Node that runs this
 *  script, and compiles the same imports against the declarations. Plain JavaScript, so that any Node can be tried:
 *  `npm run build && /usr/bin/node scripts/smoke.js`. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const inside = (folder) => readdirSync(path.join(root, folder)).map((name) => `${folder}/${name}`);
const built = ["core", ...inside("south"), ...inside("north")]
  .map((home) => path.join(root, home, "dist"))
  .filter((dist) => existsSync(path.join(dist, "package.json")))
  .map((dist) => ({ dist, ...JSON.parse(readFileSync(path.join(dist, "package.json"), "utf8")) }));

if (built.length === 0) {
  console.error("nothing is built yet: run npm run build");
  process.exit(1);
}

const scratch = mkdtempSync(path.join(tmpdir(), "sinan-smoke-"));
try {
  const link = (name, target) => {
    const place = path.join(scratch, "node_modules", name);
    mkdirSync(path.dirname(place), { recursive: true });
    symlinkSync(target, place, "junction");
  };
  for (const { name, dist } of built) link(name, dist);
  // What npm would install with them.
  const needed = new Set(built.flatMap(({ dependencies = {} }) => Object.keys(dependencies)));
  for (const { name } of built) needed.delete(name);
  for (const name of needed) link(name, path.join(root, "node_modules", name));
  const entries = built.flatMap(({ name, exports = {} }) => Object.keys(exports).map((key) => name + key.slice(1)));
  const imports = entries
    .map(
      (entry) =>
        `{ const names = Object.keys(await import("${entry}")); console.log("${entry}:", names.length, "names"); }`,
    )
    .join("\n");
  const programs = built.flatMap(({ dist, bin = {} }) => Object.values(bin).map((file) => path.join(dist, file)));

  const node = (...args) => spawnSync(process.execPath, args, { cwd: scratch, stdio: "inherit" }).status === 0;

  // --preserve-symlinks: a package finds its peers in the scratch folder, never in the repository's node_modules.
  let good = node("--preserve-symlinks", "--input-type=module", "--eval", imports);
  for (const program of programs) good = node("--check", program) && good;

  const compiler = path.join(root, "node_modules", "typescript", "bin", "tsc");
  if (existsSync(compiler)) {
    const consumer = path.join(scratch, "consumer.ts");
    writeFileSync(consumer, entries.map((entry, i) => `export * as entry${i} from "${entry}";\n`).join(""));
    writeFileSync(path.join(scratch, "package.json"), '{ "type": "module" }\n');
    symlinkSync(path.join(root, "node_modules", "@types"), path.join(scratch, "node_modules", "@types"), "junction");
    symlinkSync(
      path.join(root, "node_modules", "undici-types"),
      path.join(scratch, "node_modules", "undici-types"),
      "junction",
    );
    const options = ["--strict", "--noEmit", "--preserveSymlinks", "--module", "NodeNext", "--target", "ES2022"];
    const library = ["--lib", "ES2024,ESNext.Disposable,DOM", "--types", "node"];
    good = node(compiler, ...options, ...library, consumer) && good;
  }

  if (!good) process.exitCode = 1;
  else
    console.log(`${entries.length} entries and ${programs.length} programs load under Node ${process.versions.node}`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
