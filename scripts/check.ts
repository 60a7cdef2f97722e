/** `npm run check`: everything that must hold of the sources short of running them. All parts run even when one fails, so
 *  that one run shows all there is to repair. `npm run check -- doors lint` runs only the named parts. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import process from "node:process";

const root = path.resolve(import.meta.dirname, "..");
const rooms = ["core", "south", "north", "bench/src", "examples"].filter((room) => existsSync(path.join(root, room)));

/** Each part is a list of commands: a tool's name and its arguments. */
const parts = new Map<string, string[][]>([
  [
    "types",
    [
      ["tsc", "-p", "."],
      ["tsc", "-p", "examples/browser"], // what runs in a page, with its types
      ["tsc", "-p", "north/train/page"],
      ["tsc", "-p", "core"], // again without the types of Node: what core itself may use
    ],
  ],
  ["lint", [["oxlint", "--deny-warnings"]]],
  ["doors", [["depcruise", "--config", ".dependency-cruiser.json", ...rooms]]],
  ["format", [["biome", "format", "."]]],
  ["size", [["node", "scripts/size.ts"]]],
  ["unused", [["knip", "--no-progress", "--no-config-hints"]]],
]);

const wanted = process.argv.slice(2);
for (const name of wanted) {
  if (parts.has(name)) continue;
  console.error(`check has no part ${JSON.stringify(name)}; its parts are ${[...parts.keys()].join(", ")}`);
  process.exit(2);
}

const tools = path.join(root, "node_modules", ".bin");
const env = { ...process.env, PATH: tools + path.delimiter + (process.env["PATH"] ?? "") };
const failed: string[] = [];

for (const [name, commands] of parts) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const start = performance.now();
  const good = commands.map(([tool = "", ...args]) => {
    const run = spawnSync(tool, args, { cwd: root, env, stdio: "inherit", shell: process.platform === "win32" });
    if (run.error)
      console.error(`${tool}: ${run.error.message}\n  Run npm ci: the tools are development dependencies.`);
    return run.status === 0;
  });
  if (good.includes(false)) failed.push(name);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${good.includes(false) ? "✖" : "✔"} ${name} (${seconds} s)`);
}

const hints: Record<string, string> = {
  size: "what a small network does not use must not be imported by what it uses: see core/src/ops/table.ts",
  format: "npm run format repairs the format",
  doors: "north → core ← south; and no `using` declarations: neither Node 22 nor the parser of this check reads them",
};

if (failed.length > 0) {
  console.error(`check failed: ${failed.join(", ")}`);
  for (const name of failed) if (hints[name]) console.error(`  ${name}: ${hints[name]}`);
  process.exit(1);
}
