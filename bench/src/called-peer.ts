/** A peer program that stays and times some calls of a case when it is asked to, so that its calls and ours go in turn: what else the
 *  machine does, and what its clock is, is then the same for both. What is said between us, line by line: bench/peers/turns.mjs. */
import { spawn } from "node:child_process";
import path from "node:path";
import { createInterface } from "node:readline";
import { absent, environment, home, interpreterOf, type Program, threadsOfTorch } from "./peers.ts";
import { torches } from "./python.ts";

export interface CalledPeer {
  readonly name: string;
  readonly version: string;
  /** Calls of a case for so many seconds, or one that takes longer; null, with a word on standard error, where the peer lacks it. */
  turn(of: string, seconds: number): Promise<Turn | null>;
  close(): void;
}

export interface Turn {
  /** Seconds of each call. */
  readonly times: readonly number[];
  /** What a call gave, as a number to compare with ours. */
  readonly check: number;
}

/** JSON has no NaN: what a peer found to be one is null. */
type Answer = Partial<Pick<CalledPeer, "name" | "version"> & Pick<Turn, "times">> & {
  readonly check?: number | null;
  readonly absent?: string;
};

interface Setting {
  readonly folder?: string;
  readonly threads?: number;
  /** What runs the program, where that is not found by its name. */
  readonly interpreter?: string;
}

/** Null, with a word on standard error, where it is not installed or does not start. */
export async function calledPeer(
  program: Program,
  { folder = home, threads = 1, interpreter = interpreterOf(program, folder) }: Setting = {},
): Promise<CalledPeer | null> {
  const { file, args, needs } = program;
  if (interpreter === undefined) {
    absent(needs, "npm run peers");
    return null;
  }
  const child = spawn(interpreter, [path.join(folder, file), ...args], { cwd: folder, env: environment(threads) });
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint = (complaint + text).slice(-2000)));
  child.stdin.on("error", () => {}); // it ended: the next answer says so
  const ended = new Promise<string>((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", () => resolve(complaint.trim() || "no word"));
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  /** The next line that is an answer; libraries print others. */
  const answer = async (): Promise<Answer> => {
    for (let line = await lines.next(); !line.done; line = await lines.next())
      if (line.value.startsWith("{")) return JSON.parse(line.value) as Answer;
    throw new Error(`${needs}: the program ended: ${await ended}`);
  };
  const { name, version } = await answer().catch((error: unknown) => {
    console.error(`${needs} is not measured: ${String(error)}`);
    const none: Answer = {};
    return none;
  });
  if (name === undefined || version === undefined) return null;
  return {
    name,
    version,
    async turn(of, seconds) {
      child.stdin.write(`${JSON.stringify({ case: of, seconds })}\n`);
      const { times, check, absent: why } = await answer();
      if (times !== undefined && times.length > 0 && check !== undefined) return { times, check: check ?? Number.NaN };
      if (why === undefined) throw new TypeError(`${needs}: expected times of ${of} and a check, got neither`);
      if (why !== "not among its cases") console.error(`${name}: ${of} is not measured: ${why}`);
      return null;
    },
    close: () => child.stdin.end(),
  };
}

/** Those of the programs that are installed and start. */
export async function calledPeers(programs: readonly Program[], setting?: Setting): Promise<CalledPeer[]> {
  const found: CalledPeer[] = [];
  for (const program of programs) {
    const peer = await calledPeer(program, setting);
    if (peer) found.push(peer);
  }
  return found;
}

/** A program of PyTorch's on each of its versions that is installed, in each arrangement of its threads. */
export async function calledTorches(
  {
    file,
    args = [],
    needs = "torch",
  }: { readonly file: string; readonly args?: readonly string[]; readonly needs?: "torch" | "transformers" },
  threads: number,
  isQuick: boolean,
): Promise<CalledPeer[]> {
  const all = torches().filter(({ hasTransformers }) => needs === "torch" || hasTransformers);
  if (all.length === 0) absent(needs, "npm run peers -- --torch");
  const found: CalledPeer[] = [];
  for (const torch of all)
    for (const [pool, blas] of threadsOfTorch(torch, threads, isQuick)) {
      const program = { file, args: [...args, "--threads", String(pool)], needs };
      const peer = await calledPeer(program, { threads: blas, interpreter: torch.python });
      if (peer) found.push(peer);
    }
  return found;
}
