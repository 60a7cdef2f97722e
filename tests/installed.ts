/** The built packages as people get them: packed, and installed into an empty project. Needs `npm run build`. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

export const root = path.resolve(import.meta.dirname, "..");
const homes = globSync("{core,south/*,north/*}/package.json", { cwd: root }).map((file) => path.dirname(file));

/** Why there is nothing to test. */
function notBuilt(): string | false {
  for (const home of homes) {
    const manifest = path.join(root, home, "dist/package.json");
    if (!existsSync(manifest)) return `${home} is not built: npm run build`;
    const built = statSync(manifest).mtimeMs;
    const newer = globSync("src/**/*.ts", { cwd: path.join(root, home) }).find(
      (file) => !/\.(test|fixture)\.ts$/.test(file) && statSync(path.join(root, home, file)).mtimeMs > built,
    );
    if (newer !== undefined) return `${home}/${newer} is newer than what is built: npm run build`;
  }
  return false;
}
export const absent = notBuilt();

export interface Package {
  readonly name: string;
  readonly tarball: string;
  /** What may be imported: `sinan`, `sinan/nn`, … */
  readonly entries: readonly string[];
}

export interface Installed {
  /** The project, whose `node_modules` has the packages. */
  readonly folder: string;
  readonly packages: readonly Package[];
}

/** Packs every package, or the one of that name with those it asks for, and what they need of others, and installs the tarballs, offline.
 *  The caller removes the folder. */
export function install(name?: string): Installed {
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-packages-"));
  const built = homes.map((home) => path.join(root, home, "dist"));
  const names = name === undefined ? undefined : needed(name, built.map(manifestOf));
  const dists = built.filter((dist) => names?.has(manifestOf(dist).name) ?? true);
  npm(folder, "pack", "--silent", "--pack-destination", folder, ...dists);
  const others = dependencies(dists).map((name) => {
    const home = path.join(root, "node_modules", name);
    npm(folder, "pack", "--silent", "--ignore-scripts", "--pack-destination", folder, home);
    return tarballOf(folder, home);
  });
  const packages = dists.map((dist): Package => {
    const { name, exports = {} } = manifestOf(dist);
    return { name, tarball: tarballOf(folder, dist), entries: Object.keys(exports).map((key) => name + key.slice(1)) };
  });
  writeFileSync(path.join(folder, "package.json"), '{ "private": true, "type": "module" }\n');
  const quiet = ["--offline", "--ignore-scripts", "--no-audit", "--no-fund"];
  npm(folder, "install", ...quiet, ...others, ...packages.map(({ tarball }) => tarball));
  return { folder, packages };
}

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly exports?: Readonly<Record<string, unknown>>;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const manifestOf = (home: string): Manifest =>
  JSON.parse(readFileSync(path.join(home, "package.json"), "utf8")) as Manifest;

/** A package and what its manifest asks for, directly or not. */
function needed(name: string, all: readonly Manifest[], found = new Set<string>()): ReadonlySet<string> {
  if (found.has(name)) return found;
  found.add(name);
  for (const other of Object.keys(all.find((m) => m.name === name)?.dependencies ?? {})) needed(other, all, found);
  return found;
}

function tarballOf(folder: string, home: string): string {
  const { name, version } = manifestOf(home);
  return path.join(folder, `${name.replace("@", "").replace("/", "-")}-${version}.tgz`);
}

/** Packages that are not ours and that ours need at run time. */
function dependencies(dists: readonly string[]): string[] {
  const manifests = dists.map(manifestOf);
  const own = new Set(manifests.map(({ name }) => name));
  const needed = new Set(manifests.flatMap(({ dependencies: needs = {} }) => Object.keys(needs)));
  return [...needed].filter((name) => !own.has(name)).sort();
}

function npm(cwd: string, ...args: readonly string[]): void {
  const program = process.env["npm_execpath"];
  const { status, stderr, error } = program?.endsWith(".js")
    ? spawnSync(process.execPath, [program, ...args], { cwd, encoding: "utf8" })
    : spawnSync("npm", args, { cwd, encoding: "utf8", shell: process.platform === "win32" });
  assert.equal(status, 0, error?.message ?? stderr);
}
