/** Puts figures of `npm run bench` into the README, between its markers:
 *
 *    for name in gemm llama-train dispatch; do npm run --silent bench -- $name --json > $name.jsonl; done
 *    node scripts/bench-table.ts gemm.jsonl llama-train.jsonl dispatch.jsonl
 *
 *  One row a case, one column a peer, with our ratio to it (above 1 where we are better). `--into FILE` for another page. */
import { readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import type { Figure } from "../bench/src/figure.ts";

const [begin, end] = ["<!-- bench:begin -->", "<!-- bench:end -->"];

/** What the cases are, for who has not read the benches. */
const about: Readonly<Record<string, string>> = {
  "gemm 512": "matrix product, f32, 512³",
  "gemm 1024": "matrix product, f32, 1024³",
  "gemm 2048": "matrix product, f32, 2048³",
  "llama-train step": "LLaMA training step (dim 256, 6 layers, T 256, batch 8)",
  "llama-train first-step": "its first step, compiling included",
  "llama-train peak": "its peak memory, of the whole process",
  "llama-train peak-tensors": "of that, tensors",
  "llama-train batch-16": "the same with batch 16, where the JavaScript peers die at 4 GiB",
  "llama-train batch-64": "with batch 64",
  "dispatch call": "a jitted call of `x + 1`, read back",
  "dispatch call-chain": "the same, one of a chain of 500",
  "dispatch tree": "a jitted update of 300 tensors",
  "dispatch mlp-lazy": "a small training step, not jitted",
  "dispatch mlp-jit": "the same step, jitted",
};

/** The lines that are figures; npm's own lines may stand among them. */
const figuresIn = (file: string): Figure[] =>
  readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Figure);

const digits = (value: number): string =>
  Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));

function table(figures: readonly Figure[]): string {
  const peers = [...new Set(figures.flatMap(({ peer }) => (peer ? [`${peer.name} ${peer.version}`] : [])))];
  const rows = Map.groupBy(figures, (f) => `${f.bench} ${f.case}|${f.device}|${f.threads}`);
  const devices = [
    ...new Set(figures.map((f) => `${f.device}, ${f.threads} ${f.threads === 1 ? "thread" : "threads"}`)),
  ];
  const head = ["case", "unit", ...(devices.length === 1 ? [`Sinan (${devices[0]})`] : ["device", "Sinan"]), ...peers];
  const body = [...rows.values()].map((same) => {
    const [own] = same;
    if (!own) throw new Error("a group has a member");
    const name = about[`${own.bench} ${own.case}`] ?? `${own.bench} ${own.case}`;
    const theirs = peers.map((peer) => {
      const beside = same.find((f) => f.peer && `${f.peer.name} ${f.peer.version}` === peer);
      return beside?.peer ? `${digits(beside.peer.value)} (${beside.ratio?.toFixed(2)}×)` : "";
    });
    return [
      name,
      own.unit,
      ...(devices.length === 1 ? [] : [`${own.device}, ${own.threads}`]),
      digits(own.value),
      ...theirs,
    ];
  });
  const left = devices.length === 1 ? 2 : 3;
  const rule = head.map((_, i) => (i < left ? "---" : "---:"));
  return [head, rule, ...body].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

const { values, positionals: files } = parseArgs({ allowPositionals: true, options: { into: { type: "string" } } });
const page = values.into ?? path.join(import.meta.dirname, "..", "README.md");
if (files.length === 0) {
  console.error("node scripts/bench-table.ts FIGURES.jsonl …   (what npm run --silent bench -- NAME --json printed)");
  process.exit(2);
}
const figures = files.flatMap(figuresIn);
const text = readFileSync(page, "utf8");
const [from, to] = [text.indexOf(begin), text.indexOf(end)];
if (figures.length === 0 || from < 0 || to < from) {
  console.error(
    figures.length === 0 ? `no figures in ${files.join(", ")}` : `${page}: expected ${begin} and ${end} below it`,
  );
  process.exit(1);
}
const month = new Date().toISOString().slice(0, 7);
const peersToo = figures.some(({ peer }) => peer)
  ? " In brackets: how many times better Sinan is; below 1, worse."
  : "";
const note = `Medians, measured ${month} on ${os.availableParallelism()} cores (${process.arch}), Node ${process.versions.node}.${peersToo}`;
writeFileSync(page, `${text.slice(0, from + begin.length)}\n${note}\n\n${table(figures)}\n${text.slice(to)}`);
