import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { ofCase, parseLines, runAll } from "./peers.ts";

const line = (more: object) =>
  JSON.stringify({
    name: "ort-web",
    version: "1.30.0",
    case: "512",
    threads: 1,
    value: 31.5,
    unit: "GFLOP/s",
    ...more,
  });

test("a peer's figures are read out of whatever else its library prints", () => {
  const output = [
    "[W:onnxruntime] a warning",
    line({ best: 33, node: "v26" }),
    "",
    line({ case: "1024", value: 30 }),
  ].join("\n");
  const lines = parseLines(output);
  assert.deepEqual(lines[0], JSON.parse(line({})));
  assert.deepEqual(ofCase(lines, "1024"), [{ name: "ort-web", version: "1.30.0", value: 30 }]);
  assert.deepEqual(ofCase(lines, "2048"), []);
});

test("a line that is no whole figure is refused", () => {
  const bad = [
    { value: 0 },
    { value: null },
    { value: "31.5" },
    { unit: "furlongs" },
    { name: 3 },
    { threads: undefined },
  ];
  for (const more of bad) assert.throws(() => parseLines(line(more)), SyntaxError, JSON.stringify(more));
  assert.throws(() => parseLines('{"name": "ort'), SyntaxError);
});

test("a peer that is missing, or that fails half-way, is left out and the others are measured", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-peers-"));
  try {
    mkdirSync(path.join(folder, "node_modules", "present"), { recursive: true });
    const prints = `console.log(process.argv[2] === "--size" ? ${JSON.stringify(line({}))} : "no size");\n`;
    writeFileSync(path.join(folder, "good.mjs"), prints);
    writeFileSync(path.join(folder, "bad.mjs"), `${prints}throw new Error("the device was lost");\n`);
    const program = (file: string, needs = "present") => ({ file, needs, args: ["--size", "512"] });
    const lines = await runAll([program("good.mjs", "absent"), program("bad.mjs"), program("good.mjs")], 1, folder);
    assert.deepEqual(lines, parseLines(line({})));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("every pool of a peer has as many threads, and what a machine says of OpenBLAS's kernels is not passed on", async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-peers-"));
  const before = process.env["OPENBLAS_CORETYPE"];
  process.env["OPENBLAS_CORETYPE"] = "Nehalem";
  try {
    mkdirSync(path.join(folder, "node_modules", "present"), { recursive: true });
    const names = ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE"];
    const program = `const env = ${JSON.stringify(names)}.map((name) => process.env[name] ?? "none").join(" ");
      console.log(JSON.stringify({ ...${line({})}, case: env }));`;
    writeFileSync(path.join(folder, "said.mjs"), program);
    const [said] = await runAll([{ file: "said.mjs", args: [], needs: "present" }], 2, folder);
    assert.equal(said?.case, "2 2 2 none");
    process.env["SINAN_PEERS_ISA"] = "avx2";
    const [held] = await runAll([{ file: "said.mjs", args: [], needs: "present" }], 2, folder);
    assert.equal(held?.case, "2 2 2 Haswell");
    process.env["SINAN_PEERS_ISA"] = "avx";
    await assert.rejects(runAll([{ file: "said.mjs", args: [], needs: "present" }], 2, folder), RangeError);
  } finally {
    delete process.env["SINAN_PEERS_ISA"];
    if (before === undefined) delete process.env["OPENBLAS_CORETYPE"];
    else process.env["OPENBLAS_CORETYPE"] = before;
    rmSync(folder, { recursive: true, force: true });
  }
});

test("the command names its benches when asked for one that is not there", () => {
  const main = path.join(import.meta.dirname, "main.ts");
  const bench = (...args: string[]) => spawnSync(process.execPath, [main, ...args], { encoding: "utf8" });
  const unknown = bench("no-such-bench", "--json");
  assert.deepEqual([unknown.status, unknown.stdout], [2, ""]);
  assert.match(unknown.stderr, /no bench "no-such-bench"\nnpm run bench -- NAME/);
  assert.match(bench().stderr, /expected the name of one bench, got 0/);
  assert.match(bench("gemm", "--frobnicate").stderr, /--frobnicate/);
});
