/** A compiler as a process: with a limit of time, ended with all that it started, its words kept as far as anybody reads them. */
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";

export interface RunOptions {
  readonly timeoutMs: number;
  readonly cwd?: string;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal;
}

/** How it ended. */
export interface Run {
  /** `timeout`: it was ended because it took too long; `spawn`: it could not be started. */
  readonly end: "exit" | "signal" | "timeout" | "spawn";
  /** The exit code; 0 for success. */
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What is kept of each stream; the rest is read and dropped, so that a talkative program does not stand still. */
const keptBytes = 2 ** 20;

/** How long a process that was killed has to be gone. */
const graceMs = 2000;

/** Processes that run, to be ended when this one ends. */
const running = new Set<ChildProcess>();

/** Runs a program to its end.
 *  @throws the signal's reason, once the process and all that it started are ended */
export function runProcess(command: readonly string[], options: RunOptions): Promise<Run> {
  const { timeoutMs, cwd, environment = process.env, signal } = options;
  return new Promise((done, failed) => {
    signal?.throwIfAborted();
    const [file = "", ...args] = command;
    const child = spawn(file, args, {
      cwd,
      env: environment,
      stdio: ["ignore", "pipe", "pipe"],
      detached: process.platform !== "win32", // leads a group of processes, which is ended whole
      windowsHide: true,
    });
    if (running.size === 0) watch(true);
    running.add(child);
    const streams = [child.stdout, child.stderr].map(collect);
    let end: Run["end"] | undefined;
    const stop = (why: "timeout" | "signal"): void => {
      end ??= why;
      endGroup(child);
      // A process that left the group may keep the streams open: they are not waited for.
      child.stdout.destroy();
      child.stderr.destroy();
      setTimeout(() => finish(null, null), graceMs).unref(); // one that the system cannot end is not waited for either
    };
    const timer = setTimeout(() => stop("timeout"), timeoutMs);
    const abort = (): void => stop("signal");
    signal?.addEventListener("abort", abort, { once: true });
    const finish = (code: number | null, by: string | null): void => {
      clearTimeout(timer);
      child.unref();
      signal?.removeEventListener("abort", abort);
      running.delete(child);
      if (running.size === 0) watch(false);
      const [stdout = "", stderr = ""] = streams.map((text) => text());
      if (signal?.aborted) failed(signal.reason as Error);
      else done({ end: end ?? (by === null ? "exit" : "signal"), code, signal: by, stdout, stderr });
    };
    child.once("error", (error) => {
      if (child.pid !== undefined) return; // it runs: what failed is a signal to it
      end = "spawn";
      streams[1] = () => error.message;
      finish(null, null);
    });
    child.once("close", (code, by) => finish(code, by));
  });
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream.on("data", (chunk: Buffer) => {
    if (bytes < keptBytes) chunks.push(chunk.subarray(0, keptBytes - bytes));
    bytes += chunk.length;
  });
  return () => Buffer.concat(chunks).toString("utf8");
}

const endAll = (): void => running.forEach(endGroup);

/** Signals that end a program which does not listen to them: "exit" is not told of those. */
const ending = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Whether the ends of this process are those of what it runs. */
function watch(is: boolean): void {
  const change = is ? "on" : "off";
  process[change]("exit", endAll);
  for (const signal of ending) process[change](signal, endWith);
}

function endWith(signal: NodeJS.Signals): void {
  // Whoever listens too decides what becomes of the program.
  if (process.listenerCount(signal) > 1) return;
  endAll();
  watch(false);
  process.kill(process.pid, signal);
}

function endGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    if (process.platform === "win32")
      spawn("taskkill", ["/pid", String(child.pid), "/t", "/f"], { stdio: "ignore", windowsHide: true }).unref();
    else process.kill(-child.pid, "SIGKILL");
  } catch {
    // All of them ended by themselves.
  }
}

/** What a program that failed says of a disk that takes no more, under `LC_ALL=C`. */
export const noSpaceIn = ({ end, code, stderr }: Run): string | undefined =>
  end === "exit" && code === 0
    ? undefined
    : /No space left on device|Disk quota exceeded|Read-only file system/.exec(stderr)?.[0];
