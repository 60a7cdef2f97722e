/** `npm run performance`: runs every bench with its peers and writes docs/performance.md: the bars and what was measured, the
 *  machine, the versions, the commands. The figures are kept in bench/figures.jsonl, one a line.
 *
 *    npm run performance -- gemm ops    measures only these again; the other figures stay
 *    npm run performance -- --page      writes the page from the figures that there are
 *    npm run performance -- --note "…"  says on the page what was special about the measuring */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { type Figure, number, table } from "../bench/src/figure.ts";
import { type Bar, bars, type Figures } from "./performance-bars.ts";

const root = path.resolve(import.meta.dirname, "..");
const kept = path.join(root, "bench", "figures.jsonl");
const page = path.join(root, "docs", "performance.md");

/** How each bench is run; the slow ones say less often. */
const runs: readonly (readonly [bench: string, ...args: string[]])[] = [
  ["size"],
  ["startup"],
  ["dispatch", "--seconds", "1"],
  ["memory"],
  ["compile"],
  ["gemm", "--threads", "1"],
  ["gemm", "--threads", "2"],
  ["llama-train", "--threads", "2"],
  ["llama-decode", "--threads", "2"],
  ["packing", "--threads", "2"],
  ["chunked-loss", "--threads", "2", "--seconds", "20"],
  ["reports"],
  ["ops", "--seconds", "2"],
  ["tokenizer"],
  ["accuracy", "--threads", "1"],
];

const command = (args: readonly string[]): string => `npm run bench -- ${args.join(" ")} --json`;

/** A kept figure: with the run that it came from. */
interface Kept extends Figure {
  readonly run: string;
}

function readKept(): Kept[] {
  if (!existsSync(kept)) return [];
  const lines = readFileSync(kept, "utf8").split("\n");
  return lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as Kept);
}

/** The figures of one run; none where the bench fails, which it then has said. */
async function measure(args: readonly string[]): Promise<Kept[]> {
  const begin = performance.now();
  const child = spawn(process.execPath, ["bench/src/main.ts", ...args, "--json"], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  const status = await new Promise((resolve) => {
    child.on("error", resolve);
    child.on("close", resolve);
  });
  const seconds = ((performance.now() - begin) / 1000).toFixed(0);
  console.log(`${command(args)}: ${status === 0 ? "" : "failed, "}${seconds} s`);
  const lines = out.split("\n").filter((line) => line.startsWith("{"));
  return lines.map((line) => ({ run: args.join(" "), ...(JSON.parse(line) as Figure) }));
}

function lookup(all: readonly Figure[]): Figures {
  const of = (bench: string, name: string, threads: number | undefined): readonly Figure[] =>
    all.filter((f) => f.bench === bench && f.case === name && (threads === undefined || f.threads === threads));
  return {
    ours: (bench, name, threads) => of(bench, name, threads)[0]?.value,
    ratio: (bench, name, threads, peers) => {
      const ratios = of(bench, name, threads).flatMap((f) => (f.peer && peers.includes(f.peer.name) ? [f.ratio] : []));
      const known = ratios.filter((r) => r !== undefined);
      return known.length > 0 ? Math.min(...known) : undefined;
    },
  };
}

const holds = ({ bound, bar }: Bar, value: number): boolean => (bound === "at least" ? value >= bar : value <= bar);

/** By how much a bar is missed, of the bar where it is not 0. */
function missedBy({ bar, unit }: Bar, value: number): string {
  const difference = Math.abs(value - bar);
  return bar === 0 ? `${number(difference)} ${unit}` : `${((100 * difference) / bar).toFixed(0)} %`;
}

function barTable(figures: Figures): string {
  const rows = bars.map((bar) => {
    const value = bar.of(figures);
    const is = value === undefined ? "not measured" : holds(bar, value) ? "holds" : `missed by ${missedBy(bar, value)}`;
    const shown = value === undefined ? "" : `${number(value)} ${bar.unit}`;
    return `| ${bar.what} | ${bar.bound} ${bar.bar} ${bar.unit} | ${shown} | ${is} |`;
  });
  return ["| what | bar | measured | |", "|---|---|---:|---|", ...rows].join("\n");
}

function missed(figures: Figures): string {
  const all = bars.filter((bar) => {
    const value = bar.of(figures);
    return value !== undefined && !holds(bar, value);
  });
  if (all.length === 0) return "Every bar that was measured holds.";
  const byText = Map.groupBy(all, ({ tried }) => tried ?? "Nothing was written down.");
  return [...byText].map(([tried, same]) => `- ${same.map(({ what }) => what).join("; ")}. ${tried}`).join("\n");
}

const firstLine = (tool: string, ...args: string[]): string =>
  spawnSync(tool, args, { cwd: root, encoding: "utf8" }).stdout?.split("\n")[0]?.trim() ?? "";

function machine(figures: readonly Figure[]): string {
  const [cpu] = os.cpus();
  const peers = [
    ...new Set(figures.flatMap(({ peer }) => (peer && peer.name !== "best" ? [`${peer.name} ${peer.version}`] : []))),
  ];
  return [
    `| processor | ${cpu?.model.trim() ?? "unknown"}, ${os.availableParallelism()} cores, ${(os.totalmem() / 2 ** 30).toFixed(0)} GiB |`,
    `| system | ${os.type()} ${os.release()}, ${process.arch} |`,
    `| Node | ${process.versions.node} (V8 ${process.versions.v8}) |`,
    `| Sinan | commit ${firstLine("git", "rev-parse", "--short", "HEAD")} and what was not committed, ${new Date().toISOString().slice(0, 10)} |`,
    `| peers | ${peers.sort().join(", ")} |`,
  ].join("\n");
}

function write(all: readonly Kept[], note: string): void {
  const figures = lookup(all);
  const sections = runs.flatMap((args) => {
    const own = all.filter(({ run }) => run === args.join(" "));
    return own.length === 0 ? [] : [`\`\`\`\n$ ${command(args)}\n${table(own)}\n\`\`\``];
  });
  const text = `<!-- Written by scripts/performance.ts; change that. -->

# Performance

Measured by \`npm run performance\` (\`npm run peers\` installs the peers first), best on a machine with nothing else to do.${note === "" ? "" : ` ${note}`}
A figure is the median of its repeats; a ratio is ours to a peer's in the same run, above 1 where we are better. A bar on a ratio to several peers is
on the best of them.

|  |  |
|---|---|
${machine(all)}

## Bars

${barTable(figures)}

## Missed, and what was tried

${missed(figures)}

## All figures

${sections.join("\n\n")}
`;
  writeFileSync(page, text);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { page: { type: "boolean", default: false }, note: { type: "string", default: "" } },
});
const unknown = positionals.filter((name) => !runs.some(([bench]) => bench === name));
if (unknown.length > 0) {
  console.error(
    `there is no bench ${unknown.join(", ")}; there are ${[...new Set(runs.map(([bench]) => bench))].join(", ")}`,
  );
  process.exit(2);
}
let all = readKept();
for (const args of values.page ? [] : runs) {
  if (positionals.length > 0 && !positionals.includes(args[0])) continue;
  const run = args.join(" ");
  const made = await measure(args);
  if (made.length === 0) continue;
  all = [...all.filter((figure) => figure.run !== run), ...made];
  writeFileSync(kept, all.map((figure) => `${JSON.stringify(figure)}\n`).join(""));
}
write(all, values.note);
console.log(`written: ${path.relative(root, page)}`);
