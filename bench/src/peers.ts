/** The peers: programs of bench/peers that measure other frameworks, each in a process of its own, each printing one JSON
 *  line a case. A peer that is not installed, or that fails, is left out with a word on standard error. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { isUnit, type Peer, type Unit } from "./figure.ts";
import { pythonWithTorch } from "./python.ts";

const home = path.resolve(import.meta.dirname, "../peers");

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

/** Runs a peer program to its end; no lines where it is missing or fails. */
async function run({ file, args, needs }: Program, threads: number, folder: string): Promise<PeerLine[]> {
  const interpreter = file.endsWith(".py") ? pythonWithTorch() : process.execPath;
  const installed = file.endsWith(".py") || existsSync(path.join(folder, "node_modules", needs));
  if (!installed || interpreter === undefined) {
    console.error(`${needs} is not installed, so not measured; npm run peers installs it`);
    return [];
  }
  const env = { ...process.env, OPENBLAS_NUM_THREADS: String(threads), OMP_NUM_THREADS: String(threads) };
  const child = spawn(interpreter, [path.join(folder, file), ...args], { cwd: folder, env });
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
  for (const program of programs) lines.push(...(await run(program, threads, folder)));
  return lines;
}

/** The lines of one case, as peers to set beside our own figure of it. */
export const ofCase = (lines: readonly PeerLine[], name: string): Peer[] =>
  lines
    .filter((line) => line.case === name)
    .map((line) => ({ name: line.name, version: line.version, value: line.value }));

/** f32 products of square matrices of these sizes, in GFLOP/s; the case is the size. */
export function gemmPeers(sizes: readonly number[], threads: number): Promise<PeerLine[]> {
  const size = ["--size", sizes.join(",")];
  const own = ["--threads", String(threads)];
  const matmul = (peer: string, needs: string, args = own): Program => ({
    file: "matmul.mjs",
    args: ["--peer", peer, ...size, ...args],
    needs,
  });
  return runAll(
    [
      { file: "torch-matmul.py", args: [...size, ...own], needs: "torch" },
      matmul("ort-node", "onnxruntime-node"),
      matmul("ort-web", "onnxruntime-web"),
      matmul("jaxjs", "@jax-js/jax"),
      matmul("tfjs-wasm", "@tensorflow/tfjs-backend-wasm", []), // has one thread in Node
    ],
    threads,
  );
}

export interface LlamaSize {
  readonly dim: number;
  readonly layers: number;
  readonly heads: number;
  readonly vocab: number;
  readonly seq: number;
  readonly batch: number;
}

/** One AdamW step of the LLaMA of that size, in tokens/s, as `step`; and as `peak` the most memory that the process held, in MB.
 *  jax-js as it comes has one thread in Node; `jaxjs-worker` was given a Worker. */
export async function llamaTrainPeers(size: LlamaSize, steps: number, threads: number): Promise<PeerLine[]> {
  const sizes = Object.entries({ ...size, steps }).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const torch = (pool: number): Program => ({
    file: "torch-llama-train.py",
    args: [...sizes, "--threads", String(pool)],
    needs: "torch",
  });
  const jaxjs = (workers: number): Program => ({
    file: "jaxjs-llama-train.mjs",
    args: [...sizes, "--threads", String(workers)],
    needs: "@jax-js/jax",
  });
  // PyTorch's own pool and its BLAS's get in each other's way: the better of sharing and of leaving the cores to the BLAS.
  const arranged: PeerLine[][] = [];
  for (const pool of threads > 1 ? [threads, 1] : [1]) arranged.push(await runAll([torch(pool)], threads));
  const speed = (lines: readonly PeerLine[]): number => lines.find(({ case: of }) => of === "step")?.value ?? 0;
  const [best = []] = arranged.toSorted((a, b) => speed(b) - speed(a));
  const others = await runAll(
    [
      jaxjs(1),
      ...(threads > 1 ? [jaxjs(threads)] : []),
      { file: "tfjs-llama-train.mjs", args: sizes, needs: "@tensorflow/tfjs-backend-wasm" },
    ],
    threads,
  );
  return [...best.map((line) => ({ ...line, threads })), ...others];
}

/** The cost of a call in microseconds; the cases `read`, `await`, `chain` and `tree` are those of bench/peers/dispatch.mjs. */
export function dispatchPeers(leaves: number): Promise<PeerLine[]> {
  const dispatch = (peer: string, needs: string): Program => ({
    file: "dispatch.mjs",
    args: ["--peer", peer, "--leaves", String(leaves)],
    needs,
  });
  return runAll(
    [
      dispatch("jaxjs", "@jax-js/jax"),
      dispatch("jaxjs-eager", "@jax-js/jax"),
      dispatch("tfjs-wasm", "@tensorflow/tfjs-backend-wasm"),
    ],
    1,
  );
}

/** What chains take beyond input and output, in MB; the cases are those of bench/peers/memory.mjs. */
export function memoryPeers(names: readonly string[]): Promise<PeerLine[]> {
  const chain = (peer: string, needs: string, name: string): Program => ({
    file: "memory.mjs",
    args: ["--peer", peer, "--case", name],
    needs,
  });
  return runAll(
    names.flatMap((name) => [
      chain("jaxjs", "@jax-js/jax", name),
      chain("tfjs-wasm", "@tensorflow/tfjs-backend-wasm", name),
    ]),
    1,
  );
}

/** The JavaScript peers on the cases of bench/peers/ops.json, in ms. */
export function opsPeers(seconds: number): Promise<PeerLine[]> {
  const ops = (peer: string, needs: string): Program => ({
    file: "ops.mjs",
    args: ["--peer", peer, "--seconds", String(seconds)],
    needs,
  });
  return runAll(
    [ops("jaxjs", "@jax-js/jax"), ops("tfjs-wasm", "@tensorflow/tfjs-backend-wasm"), ops("ort-web", "onnxruntime-web")],
    1,
  );
}

/** Other tokenizers on the texts `NAME.txt` of a folder, in MB/s; the cases are `o200k-NAME` and `llama3-NAME`. */
export function tokenizerPeers(folder: string, texts: readonly string[], seconds: number): Promise<PeerLine[]> {
  const encode = (peer: string, needs: string): Program => ({
    file: "tokenizer.mjs",
    args: ["--peer", peer, "--folder", folder, "--texts", texts.join(","), "--seconds", String(seconds)],
    needs,
  });
  return runAll([encode("gpt-tokenizer", "gpt-tokenizer"), encode("huggingface", "@huggingface/tokenizers")], 1);
}
