/** The peers: programs of bench/peers that measure other frameworks, each in a process of its own, each printing one JSON
 *  line a case. A peer that is not installed, or that fails, is left out with a word on standard error. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { isUnit, type Peer, type Unit } from "./figure.ts";
import type { Torch } from "./python.ts";

export const home = path.resolve(import.meta.dirname, "../peers");

/** What a peer program says of one case. */
export interface PeerLine extends Peer {
  readonly case: string;
  readonly threads: number;
  readonly unit: Unit;
  /** The sum of the magnitudes of what was computed, where the program says it. */
  readonly check?: number;
}

/** The lines of a peer program's output that are figures; anything else that a library prints is passed over. The memory that a
 *  process took at most is a figure of its own, `peak`.
 *  @throws SyntaxError if a line looks like a figure and is not a whole one */
export function parseLines(output: string): PeerLine[] {
  const lines: PeerLine[] = [];
  for (const text of output.split("\n")) {
    if (!text.startsWith("{")) continue;
    const line = JSON.parse(text) as Partial<Record<keyof PeerLine | "peakRssMb", unknown>>;
    const { name, version, case: of, threads, value, unit, check, peakRssMb } = line;
    if (
      typeof name !== "string" ||
      typeof version !== "string" ||
      typeof of !== "string" ||
      typeof threads !== "number"
    )
      throw new SyntaxError(`peer: expected name, version, case and threads, got ${text}`);
    if (typeof value !== "number" || !(value > 0) || typeof unit !== "string" || !isUnit(unit))
      throw new SyntaxError(`peer: expected a positive value and a known unit, got ${text}`);
    lines.push({ name, version, case: of, threads, value, unit, ...(typeof check === "number" && { check }) });
    if (typeof peakRssMb === "number")
      lines.push({ name, version, case: "peak", threads, value: peakRssMb, unit: "MB" });
  }
  return lines;
}

export interface Program {
  readonly file: string;
  readonly args: readonly string[];
  /** The package without which the program cannot run. */
  readonly needs: string;
}

const python = "python3";

export const isInstalled = (needs: string, folder = home): boolean =>
  existsSync(path.join(folder, "node_modules", needs));

/** What runs a program; undefined where it, or the package that it needs, is missing, or cannot be held to AVX2 as asked. */
export function interpreterOf({ file, needs }: Program, folder: string): string | undefined {
  if (!isInstalled(needs, folder) || (needs === "onnxruntime-node" && isHeld())) return undefined;
  return file.endsWith(".py") ? python : process.execPath;
}

export const absent = (needs: string, command: string): void =>
  console.error(`${needs} is not installed, so not measured; ${command} installs it`);

/** What holds the libraries of peers to a processor with AVX2 and no more, where SINAN_PEERS_ISA asks for that; ggml.py loads such a build. */
const heldToAvx2 = {
  ATEN_CPU_CAPABILITY: "avx2",
  ONEDNN_MAX_CPU_ISA: "AVX2",
  MKL_ENABLE_INSTRUCTIONS: "AVX2",
  OPENBLAS_CORETYPE: "Haswell",
};

/** The environment with so many threads for every pool that a library may have. What a machine says of OpenBLAS's kernels is left
 *  out: it may name slower ones than the processor has.
 *  @throws RangeError for a SINAN_PEERS_ISA that is not avx2 */
export function environment(threads: number): NodeJS.ProcessEnv {
  const count = String(threads);
  const env = { ...process.env, OPENBLAS_NUM_THREADS: count, OMP_NUM_THREADS: count, MKL_NUM_THREADS: count };
  const own = Object.entries(env).filter(([name]) => !/^OPENBLAS_(CORETYPE|L2_SIZE)$/.test(name));
  return { ...Object.fromEntries(own), ...(isHeld() && heldToAvx2) };
}

function isHeld(): boolean {
  const isa = process.env["SINAN_PEERS_ISA"];
  if (isa && isa !== "avx2") throw new RangeError(`SINAN_PEERS_ISA: expected avx2, got ${isa}`);
  return isa === "avx2";
}

/** Runs a peer program to its end; no lines where it fails. */
async function run(program: Program, interpreter: string, threads: number, folder: string): Promise<PeerLine[]> {
  const { file, args, needs } = program;
  const child = spawn(interpreter, [path.join(folder, file), ...args], { cwd: folder, env: environment(threads) });
  let out = "";
  let complaint = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text));
  const status = await new Promise<number | string>((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code, signal) => resolve(code ?? signal ?? "ended"));
  });
  if (status === 0) return parseLines(out);
  const reason = complaint.split("\n").findLast((line) => /error/i.test(line)) ?? String(status);
  console.error(`${needs} is not measured: ${reason.trim()}`);
  return [];
}

/** The lines of the programs of a folder, run one after another: they would share the cores. */
export async function runAll(programs: readonly Program[], threads: number, folder = home): Promise<PeerLine[]> {
  const lines: PeerLine[] = [];
  for (const program of programs) {
    const interpreter = interpreterOf(program, folder);
    if (interpreter === undefined) absent(program.needs, "npm run peers");
    else lines.push(...(await run(program, interpreter, threads, folder)));
  }
  return lines;
}

/** The arrangements of threads to try: of its own pool, and of that of its products. Where these are two, they get in each other's
 *  way. */
export function threadsOfTorch({ hasOnePool }: Torch, threads: number, isQuick: boolean): [number, number][] {
  const all: [number, number] = [threads, threads];
  return threads === 1 || isQuick || hasOnePool ? [all] : [all, [1, threads], [threads, 1]];
}

/** The lines of one case, as peers to set beside our own figure of it. */
export const ofCase = (lines: readonly PeerLine[], name: string): Peer[] =>
  lines
    .filter((line) => line.case === name)
    .map((line) => ({ name: line.name, version: line.version, value: line.value }));
