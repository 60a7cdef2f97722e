/** `npm run performance`: runs every bench with its peers and writes docs/performance.md: the bars and what was measured, the
 *  machine, the versions, the commands. The figures are kept in bench/figures.jsonl, one a line.
 *
 *    npm run performance -- gemm ops    measures only these again; the other figures stay
 *    npm run performance -- --tier native gemm   only in that tier
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
import { nativeBars } from "./performance-native.ts";

const root = path.resolve(import.meta.dirname, "..");
const kept = path.join(root, "bench", "figures.jsonl");
const page = path.join(root, "docs", "performance.md");

type Arguments = readonly [bench: string, ...args: string[]];

/** How each bench is run; the slow ones say less often. */
const runs: readonly Arguments[] = [
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
  ["reports", "--seconds", "20"],
  ["ops", "--seconds", "2"],
  ["tokenizer"],
  ["accuracy", "--threads", "1"],
];

/** In the native tier, each with one thread and with two. */
const nativeRuns: readonly Arguments[] = [
  ...["gemm", "gemm-quant", "ops", "llama-decode", "infer", "cnn-train", "llama-train"].flatMap(
    (bench): Arguments[] => [
      [bench, "--threads", "1"],
      [bench, "--threads", "2"],
    ],
  ),
  ["start"],
  ["native-start", "--threads", "2"],
];

interface Run {
  readonly tier: "wasm" | "native";
  readonly args: Arguments;
}

const allRuns: readonly Run[] = [
  ...runs.map((args): Run => ({ tier: "wasm", args })),
  ...nativeRuns.map((args): Run => ({ tier: "native", args })),
];

/** What kept figures name a run by; those of WebAssembly had their names before there were tiers. */
const nameOf = ({ tier, args }: Run): string => `${tier === "native" ? "SINAN_CPU=native " : ""}${args.join(" ")}`;
const isNative = ({ run }: Kept): boolean => run.startsWith("SINAN_CPU=native ");

const command = ({ tier, args }: Run): string => `SINAN_CPU=${tier} npm run bench -- ${args.join(" ")} --json`;

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
async function measure(run: Run): Promise<Kept[]> {
  const begin = performance.now();
  const child = spawn(process.execPath, ["bench/src/main.ts", ...run.args, "--json"], {
    cwd: root,
    env: { ...process.env, SINAN_CPU: run.tier },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  const status = await new Promise((resolve) => {
    child.on("error", resolve);
    child.on("close", resolve);
  });
  const seconds = ((performance.now() - begin) / 1000).toFixed(0);
  console.log(`${command(run)}: ${status === 0 ? "" : "failed, "}${seconds} s`);
  const lines = out.split("\n").filter((line) => line.startsWith("{"));
  return lines.map((line) => ({ run: nameOf(run), ...(JSON.parse(line) as Figure) }));
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

function barTable(bars: readonly Bar[], figures: Figures): string {
  const rows = bars.map((bar) => {
    const value = bar.of(figures);
    const is = value === undefined ? "not measured" : holds(bar, value) ? "holds" : `missed by ${missedBy(bar, value)}`;
    const shown = value === undefined ? "" : `${number(value)} ${bar.unit}`;
    return `| ${bar.what} | ${bar.bound} ${bar.bar} ${bar.unit} | ${shown} | ${is} |`;
  });
  return ["| what | bar | measured | |", "|---|---|---:|---|", ...rows].join("\n");
}

/** A list of bars and the figures that they are held against. */
type Held = readonly [bars: readonly Bar[], figures: Figures];

function missed(held: readonly Held[]): string {
  const all = held.flatMap(([list, figures]) =>
    list.filter((bar) => {
      const value = bar.of(figures);
      return value !== undefined && !holds(bar, value);
    }),
  );
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
  const wasm: Held = [bars, lookup(all.filter((figure) => !isNative(figure)))];
  const native: Held = [nativeBars, lookup(all.filter(isNative))];
  const sections = allRuns.flatMap((one) => {
    const own = all.filter(({ run }) => run === nameOf(one));
    return own.length === 0 ? [] : [`\`\`\`\n$ ${command(one)}\n${table(own)}\n\`\`\``];
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

In the WebAssembly tier:

${barTable(...wasm)}

In the native tier, the worse of one thread and of two:

${barTable(...native)}

## Missed, and what was tried

${missed([wasm, native])}

## All figures

${sections.join("\n\n")}
`;
  writeFileSync(page, text);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    page: { type: "boolean", default: false },
    tier: { type: "string" },
    note: { type: "string", default: "" },
  },
});
const unknown = positionals.filter((name) => !allRuns.some(({ args: [bench] }) => bench === name));
if (unknown.length > 0) {
  console.error(
    `there is no bench ${unknown.join(", ")}; there are ${[...new Set(allRuns.map(({ args: [bench] }) => bench))].join(", ")}`,
  );
  process.exit(2);
}
let all = readKept();
for (const one of values.page ? [] : allRuns) {
  if (positionals.length > 0 && !positionals.includes(one.args[0])) continue;
  if (values.tier !== undefined && values.tier !== one.tier) continue;
  const run = nameOf(one);
  const made = await measure(one);
  if (made.length === 0) continue;
  all = [...all.filter((figure) => figure.run !== run), ...made];
  writeFileSync(kept, all.map((figure) => `${JSON.stringify(figure)}\n`).join(""));
}
write(all, values.note);
console.log(`written: ${path.relative(root, page)}`);
