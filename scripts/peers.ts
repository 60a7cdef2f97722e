/** `npm run peers`: installs the frameworks that the benches set beside us: the JavaScript ones into bench/peers, and
 *  Debian's PyTorch where this runs as root on a Debian. Without install scripts: one of them downloads GPU libraries. */
import { spawnSync } from "node:child_process";
import path from "node:path";
import process from "node:process";
import { pythonWithTorch } from "../bench/src/python.ts";

const home = path.resolve(import.meta.dirname, "../bench/peers");

const run = (tool: string, args: readonly string[], cwd = home): boolean =>
  spawnSync(tool, args, { cwd, stdio: "inherit", shell: process.platform === "win32" }).status === 0;
const quiet = (tool: string, args: readonly string[]): boolean =>
  spawnSync(tool, args, { stdio: "ignore" }).status === 0;

const javascript = run("npm", ["ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"]);

// Without OpenBLAS, Debian's PyTorch falls back to the reference BLAS, which is 30 times slower: no peer at all.
const mayInstall = process.getuid?.() === 0 && quiet("apt-get", ["--version"]);
if (pythonWithTorch() === undefined && mayInstall) {
  run("apt-get", ["update"]);
  run("apt-get", ["install", "-y", "--no-install-recommends", "python3-torch", "libopenblas0-pthread"]);
}
const python = pythonWithTorch();

console.log(javascript ? "the JavaScript peers are installed" : "the JavaScript peers could not be installed");
console.log(
  python === undefined
    ? "PyTorch is missing: install torch for python3 (on Debian, python3-torch and libopenblas0-pthread, as root)"
    : `PyTorch is installed for ${python}`,
);
process.exit(javascript ? 0 : 1);
