// How fast this machine's memory is read, by stream-read.c, which the machine's C compiler builds.
// Run: node stream-read.mjs [--threads 1 --seconds 1]
// Prints one JSON line, in GB/s.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { median, parseArgs, report, round } from "./measure.mjs";

const args = parseArgs({ threads: 1, seconds: 1 });
const folder = mkdtempSync(path.join(tmpdir(), "sinan-stream-"));
const cc = process.env.SINAN_CC ?? "cc";
try {
  const program = path.join(folder, "stream-read");
  const source = path.join(import.meta.dirname, "stream-read.c");
  execFileSync(cc, ["-O3", "-march=native", "-pthread", "-o", program, source], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const out = execFileSync(program, [String(args.threads), String(args.seconds)], { encoding: "utf8" });
  const speeds = out
    .trim()
    .split("\n")
    .map((seconds) => 2 ** 29 / Number(seconds) / 1e9);
  report({
    name: "memory",
    version: "read by C",
    case: "read",
    threads: args.threads,
    value: round(median(speeds)),
    best: round(Math.max(...speeds)),
    unit: "GB/s",
  });
} finally {
  rmSync(folder, { recursive: true, force: true });
}
