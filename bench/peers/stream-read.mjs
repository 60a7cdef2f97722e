// How fast this machine's memory is read, by stream-read.c, which the machine's C compiler builds: as many bytes as the case asked for reads.
// Run: node stream-read.mjs --bytes CASE:BYTES,... [--threads 1]
// Answers turns, as turns.mjs says; its check is the number of bytes.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "./measure.mjs";
import { answerTurns } from "./turns.mjs";

const args = parseArgs({ bytes: "", threads: 1 });
const bytesOf = Object.fromEntries(args.bytes.split(",").map((text) => text.split(":")));
const folder = mkdtempSync(path.join(tmpdir(), "sinan-stream-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const program = path.join(folder, "stream-read");
const source = path.join(import.meta.dirname, "stream-read.c");
const [cc, ...told] = (process.env.SINAN_CC ?? "cc").split(" ");
const flags = ["-O3", "-march=native", ...told, "-pthread", "-o", program, source];
execFileSync(cc, flags, { stdio: ["ignore", "ignore", "pipe"] });
const reader = spawn(program, [String(args.threads)], { stdio: ["pipe", "pipe", "inherit"] });
const lines = createInterface({ input: reader.stdout })[Symbol.asyncIterator]();

await answerTurns({ name: "memory", version: "read by C" }, (of) => {
  const bytes = bytesOf[of];
  if (bytes === undefined) return undefined;
  return {
    async turn(seconds) {
      reader.stdin.write(`${bytes} ${seconds}\n`);
      const { value } = await lines.next();
      if (value === undefined) throw new Error("stream-read ended");
      return value.trim().split(" ").map(Number);
    },
    check: () => Number(bytes),
  };
});
