/** `npm test`: Node's test runner over every `*.test.ts`, or over those whose path contains one of the given words.
 *  `--devices` sets SINAN_TEST_DEVICES=all: tests of ops and models then run on every device, not only on the fast one. */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { devices: { type: "boolean", default: false }, concurrency: { type: "string", default: "2" } },
});

const root = new URL("..", import.meta.url);
const every = globSync(["{core,south/*,north/*,bench}/src/**/*.test.ts", "{tests,examples}/**/*.test.ts"], {
  cwd: root,
});
const chosen = every
  .map((file) => file.replaceAll("\\", "/"))
  .filter((file) => positionals.length === 0 || positionals.some((word) => file.includes(word)))
  .sort();

if (chosen.length === 0) {
  console.error(`no test file's path contains ${positionals.map((word) => JSON.stringify(word)).join(" or ")}`);
  process.exit(1);
}

const run = spawnSync(
  process.execPath,
  ["--test", "--import=./tests/seed.ts", "--test-reporter=spec", `--test-concurrency=${values.concurrency}`, ...chosen],
  {
    cwd: root,
    stdio: "inherit",
    env: {
      // Some hundred processes read the same sources: what Node compiled of them is kept, which saves each a third of its start.
      NODE_COMPILE_CACHE: fileURLToPath(new URL(".build/compile-cache", root)),
      ...process.env,
      ...(values.devices && { SINAN_TEST_DEVICES: "all" }),
    },
  },
);
process.exit(run.status ?? 1);
