/** `npm test`: Node's test runner over every `*.test.ts`, or over those whose path contains one of the given words.
 *  `--devices` sets SINAN_TEST_DEVICES=all: tests of ops and models then run on every device in full. After that the tests of training and of
 *  what lives how long run with the native tier as the processor, and samples of its ops as the other compiler builds them, and for processors
 *  of narrower vectors. */
import { spawnSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
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

/** Runs tests in turn with these variables; returns the exit code. */
function run(files: readonly string[], env: Readonly<Record<string, string>>): number {
  if (files.length === 0) return 0;
  const said = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  if (said.length > 0) console.log(`\n${said.join(" ")}, ${files.length} files`);
  const { status } = spawnSync(
    process.execPath,
    [
      "--test",
      "--import=./tests/seed.ts",
      "--test-reporter=spec",
      `--test-concurrency=${values.concurrency}`,
      ...files,
    ],
    {
      cwd: root,
      stdio: "inherit",
      env: {
        // Some hundred processes read the same sources: what Node compiled of them is kept, which saves each a third of its start.
        NODE_COMPILE_CACHE: fileURLToPath(new URL(".build/compile-cache", root)),
        ...process.env,
        ...env,
      },
    },
  );
  return status ?? 1;
}

/** Tests whose device is the processor, whatever its tier. */
const reliability = /^north\/(train|llm)\/|^tests\/(compose|control-runtime|lifetime)/;

/** Whether a file has tests that run on each device. */
const isOfDevices = (file: string): boolean => readFileSync(new URL(file, root), "utf8").includes("onEachDevice(");

const statuses = [run(chosen, values.devices ? { SINAN_TEST_DEVICES: "all" } : {})];
if (values.devices) {
  statuses.push(
    run(
      chosen.filter((file) => reliability.test(file)),
      { SINAN_CPU: "native", SINAN_TEST_DEVICES: "none" },
    ),
  );
  const compilers = ["gcc", "clang"].filter((name) => spawnSync(name, ["--version"], { stdio: "ignore" }).status === 0);
  const [first, other] = compilers;
  if (other === undefined) console.log("there is no second C compiler: what it would build is skipped");
  // A processor with AVX2 runs what is built for older ones: vectors of 8 lanes and of 4, without masks, 16 registers.
  const hasAvx2 = process.platform === "linux" && /\bavx2\b/.test(readFileSync("/proc/cpuinfo", "utf8"));
  const older = hasAvx2 && first !== undefined ? ["haswell", "x86-64-v2"] : [];
  if (older.length === 0) console.log("no AVX2 and gcc: what is built for older processors is skipped");
  for (const command of [
    ...(other === undefined ? [] : [other]),
    ...older.map((target) => `${first} -march=${target}`),
  ])
    statuses.push(
      run(chosen.filter(isOfDevices), {
        SINAN_CC: command,
        SINAN_TEST_DEVICES: "native",
        SINAN_TEST_SAMPLE: "24",
      }),
    );
}
process.exit(Math.max(...statuses));
