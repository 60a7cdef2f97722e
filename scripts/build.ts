/** `npm run build`: JavaScript (ES2022) and declarations of each package in its `dist/`, with the package.json that is to be
 *  published: the source's own, its entries pointed at the built files. Ends by importing every entry of what it built. */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";

/** By the conditions of those who import, such as `browser`; `default` is what types are taken from. */
type Conditions = Readonly<Record<string, string>> & { readonly default: string };

interface Manifest {
  name: string;
  version: string;
  private?: boolean;
  engines?: Record<string, string>;
  exports?: Record<string, string | Conditions>;
  bin?: Record<string, string>;
  sideEffects?: boolean | string[];
  [field: string]: unknown;
}

const root = path.resolve(import.meta.dirname, "..");
const staging = path.join(root, ".build");

/** Sources run on what strips types; the built files on every Node with the ES2024 library. */
const engines = { node: ">=22" };

function run(file: string, ...args: string[]): void {
  const result = spawnSync(process.execPath, [path.join(root, file), ...args], { cwd: root, stdio: "inherit" });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

/** `./src/io/safetensors.ts` is built to `./io/safetensors.js`. */
const built = (source: string, extension = ".js"): string => source.replace("./src/", "./").replace(/\.ts$/, extension);

const mapValues = <A, B>(record: Record<string, A>, f: (value: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value)]));

function entry(source: string | Conditions): Record<string, string> {
  const files = typeof source === "string" ? { default: source } : source;
  return { types: built(files.default, ".d.ts"), ...mapValues(files, (file) => built(file)) };
}

function published({ private: _, exports, bin, sideEffects, ...rest }: Manifest): Record<string, unknown> {
  return {
    ...rest,
    engines,
    ...(exports && { exports: mapValues(exports, entry) }),
    ...(bin && { bin: mapValues(bin, (file) => built(file)) }),
    ...(sideEffects !== undefined && {
      sideEffects: typeof sideEffects === "boolean" ? sideEffects : sideEffects.map((file) => built(file)),
    }),
  };
}

rmSync(staging, { recursive: true, force: true });
run("node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json");

for (const file of globSync("{core,south/*,north/*}/package.json", { cwd: root })) {
  const home = path.dirname(file);
  const emitted = path.join(staging, home, "src");
  const dist = path.join(root, home, "dist");
  rmSync(dist, { recursive: true, force: true });
  if (!existsSync(emitted)) continue;
  mkdirSync(dist, { recursive: true });
  cpSync(emitted, dist, { recursive: true });
  for (const declarations of globSync("**/*.d.ts", { cwd: dist })) {
    const text = readFileSync(path.join(dist, declarations), "utf8");
    // What a program compiles with may not have it by itself.
    const library = /Symbol\.(d|asyncD)ispose/.test(text) ? '/// <reference lib="esnext.disposable" />\n' : "";
    writeFileSync(
      path.join(dist, declarations),
      library + text.replaceAll(/((?:from|import\() ?"\.[^"]*)\.ts"/g, '$1.js"'),
    );
  }
  const manifest = JSON.parse(readFileSync(path.join(root, file), "utf8")) as Manifest;
  writeFileSync(path.join(dist, "package.json"), `${JSON.stringify(published(manifest), null, 2)}\n`);
  for (const text of ["LICENSE", "README.md"]) {
    const own = [path.join(root, home, text), path.join(root, text)].find((candidate) => existsSync(candidate));
    if (own) cpSync(own, path.join(dist, text));
  }
  console.log(`${manifest.name} ${manifest.version} → ${path.relative(root, dist)}`);
}
rmSync(staging, { recursive: true, force: true });

run("scripts/smoke.js");
