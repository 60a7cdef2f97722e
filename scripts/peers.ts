/** `npm run peers`: installs the frameworks that the benches set beside us: those of npm into bench/peers, and Debian's PyTorch where
 *  this runs as root on a Debian. Without install scripts: one of them downloads GPU libraries. `npm run peers -- --torch` installs the
 *  newest PyTorch and transformers as well, into a virtual environment: 5 GB, as its libraries for GPUs cannot be left out. */
import { spawnSync } from "node:child_process";
import path from "node:path";
import process from "node:process";
import { newestTorch, torches } from "../bench/src/python.ts";

const home = path.resolve(import.meta.dirname, "../bench/peers");

const run = (tool: string, args: readonly string[], cwd = home): boolean =>
  spawnSync(tool, args, { cwd, stdio: "inherit", shell: process.platform === "win32" }).status === 0;
const quiet = (tool: string, args: readonly string[]): boolean =>
  spawnSync(tool, args, { stdio: "ignore" }).status === 0;

const pinned = ["torch==2.15.0", "transformers==5.23.0"];

const javascript = run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);

if (process.argv.includes("--torch")) {
  run("python3", ["-m", "venv", newestTorch]);
  run(path.join(newestTorch, "bin", "python"), ["-m", "pip", "install", ...pinned]);
}

// Without OpenBLAS, Debian's PyTorch falls back to the reference BLAS, which is 30 times slower: no peer at all.
const mayInstall = process.getuid?.() === 0 && quiet("apt-get", ["--version"]);
if (!quiet("/usr/bin/python3", ["-c", "import torch"]) && mayInstall) {
  run("apt-get", ["update"]);
  run("apt-get", ["install", "-y", "--no-install-recommends", "python3-torch", "libopenblas0-pthread"]);
}

console.log(javascript ? "the peers of npm are installed" : "the peers of npm could not be installed");
const found = torches();
for (const { version, python } of found) console.log(`PyTorch ${version} is installed for ${python}`);
if (found.length === 0)
  console.log(
    "PyTorch is missing: install torch for python3 (on Debian, python3-torch and libopenblas0-pthread, as root)",
  );
process.exit(javascript ? 0 : 1);
