/** The scripts that fill the README: figures become a table between the markers, a captured terminal becomes its last screen. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { jsonLine } from "../bench/src/figure.ts";

const folder = mkdtempSync(path.join(tmpdir(), "sinan-scripts-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const file = (name: string, text = ""): string => {
  const place = path.join(folder, name);
  writeFileSync(place, text);
  return place;
};
const run = (script: string, ...args: string[]) =>
  spawnSync(process.execPath, [path.join(import.meta.dirname, "../scripts", script), ...args], { encoding: "utf8" });

test("bench-table: a row a case, a column a peer, and the rest of the page untouched", () => {
  const own = { bench: "gemm", case: "512", device: "cpu-wasm", threads: 1, value: 30.04, unit: "GFLOP/s" } as const;
  const figures = [
    { ...own, peer: { name: "torch", version: "2.6", value: 60.08 }, ratio: 0.5 },
    { ...own, peer: { name: "tfjs", version: "4.22", value: 7.51 }, ratio: 4 },
    { ...own, bench: "dispatch", case: "call", value: 6.4, unit: "us" } as const,
  ];
  const lines = ["> bench", "", ...figures.map(jsonLine), ""].join("\n");
  const page = file("page.md", "before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n");
  const { status, stderr } = run("bench-table.ts", "--into", page, file("figures.jsonl", lines));
  assert.equal(status, 0, stderr);
  const text = readFileSync(page, "utf8");
  assert.match(text, /^before\n<!-- bench:begin -->\nMedians/);
  assert.match(text, /\n<!-- bench:end -->\nafter\n$/);
  assert.doesNotMatch(text, /old/);
  assert.deepEqual(
    text.split("\n").filter((line) => line.startsWith("|")),
    [
      "| case | unit | Sinan (cpu-wasm, 1 thread) | torch 2.6 | tfjs 4.22 |",
      "| --- | --- | ---: | ---: | ---: |",
      "| matrix product, f32, 512³ | GFLOP/s | 30 | 60.1 (0.50×) | 7.51 (4.00×) |",
      "| a jitted call of `x + 1`, read back | us | 6.4 |  |  |",
    ],
  );
});

test("bench-table: a page without markers is left alone", () => {
  const page = file("other.md", "no markers\n");
  const line = '{"bench":"gemm","case":"512","device":"cpu-wasm","threads":1,"value":1,"unit":"s"}';
  assert.equal(run("bench-table.ts", "--into", page, file("one.jsonl", line)).status, 1);
  assert.equal(readFileSync(page, "utf8"), "no markers\n");
});

test("terminal-svg: what was drawn over is gone, colours stay", () => {
  const [escape, target] = [String.fromCharCode(27), path.join(folder, "picture.svg")];
  const capture = `\r${escape}[2Kstep 1/2 ###\r${escape}[2Kstep 2/2 ######\r${escape}[2K${escape}[32mheld-out${escape}[39m a < b\r\nthe end\r\n`;
  const { status, stderr } = run("terminal-svg.ts", file("capture.txt", capture), target, "--command", "npm start");
  assert.equal(status, 0, stderr);
  const texts = [...readFileSync(target, "utf8").matchAll(/<text [^>]*>(.*?)<\/text>/g)].map(
    ({ 1: inner = "" }) => inner,
  );
  assert.deepEqual(
    texts.map((inner) => inner.replaceAll(/<[^>]*>/g, "")),
    ["$ npm start", "held-out a &lt; b", "the end"],
  );
  assert.match(texts[1] ?? "", /^<tspan fill="#8ddb8c">held-out<\/tspan> a/);

  // Lines that are drawn again in place, and what came above them meanwhile.
  const frame = (n: number): string => `step ${n}${escape}[K\nloss ${9 - n}${escape}[K${escape}[J`;
  const live = `${escape}[?25l\r${frame(1)}\r${escape}[1A${frame(2)}\r${escape}[1A${escape}[Jabove\n${frame(3)}\r${escape}[1A${escape}[J`;
  const linesOf = (...more: string[]): string[] => {
    assert.equal(run("terminal-svg.ts", file("live.txt", live), target, ...more).status, 0);
    return [...readFileSync(target, "utf8").matchAll(/<text [^>]*>(.*?)<\/text>/g)].map(({ 1: inner = "" }) => inner);
  };
  assert.deepEqual(linesOf(), ["above"]);
  assert.deepEqual(linesOf("--until", "step 2"), ["step 2", "loss 7"]);
  assert.deepEqual(linesOf("--until", "step 3"), ["above", "step 3", "loss 6"]);
});
