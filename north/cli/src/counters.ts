/** Hardware counters of a process, where `perf` is installed and may count: cycles, instructions, caches. */
import { spawn } from "node:child_process";

/** Counts of all threads of a process, by the names of perf's events. */
export type Counts = Readonly<Record<string, number>>;

const events = ["cycles", "instructions", "cache-references", "cache-misses"] as const;

/** What was counted; a line says what it means, or why there is nothing. */
export interface Counted {
  readonly counts: Counts | null;
  readonly text: string;
}

/** Counters under way. */
export interface Counters {
  stop(): Promise<Counted>;
  /** Ends them without asking what they counted. */
  kill(): void;
}

/** @param perf  the program that counts, for tests */
export function startCounters(pid: number, perf = "perf"): Counters {
  const args = ["stat", "-x", ";", "-e", events.join(","), "-p", String(pid)];
  const child = spawn(perf, args, { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, LC_ALL: "C" } });
  let said = "";
  let failure: string | undefined;
  child.stderr.on("data", (piece: Buffer) => (said += piece.toString()));
  const ended = new Promise<void>((resolve) => {
    child.once("error", (error: NodeJS.ErrnoException) => {
      failure = error.code === "ENOENT" ? `${perf} is not installed` : error.message;
      resolve();
    });
    child.once("close", () => resolve());
  });
  // The program that is counted may end meanwhile.
  child.unref();
  if ("unref" in child.stderr && typeof child.stderr.unref === "function") child.stderr.unref();
  return {
    async stop() {
      // Ended by itself it has said why; a process that waits for it must stay.
      child.ref();
      child.kill("SIGINT");
      const kill = setTimeout(() => child.kill("SIGKILL"), 2000);
      await ended;
      clearTimeout(kill);
      return failure === undefined ? countedIn(said) : { counts: null, text: `counters: none, as ${failure}` };
    },
    kill: () => void child.kill("SIGKILL"),
  };
}

/** @param said  what `perf stat -x ';'` wrote: lines of value, unit, event … */
export function countedIn(said: string): Counted {
  const counts: Record<string, number> = {};
  let refused: string | undefined;
  for (const line of said.split("\n")) {
    const [value = "", , event = ""] = line.split(";");
    const name = events.find((known) => event.split(":")[0] === known);
    if (name && /^\d+(\.\d+)?$/.test(value)) counts[name] = Number(value);
    else if (name) refused ??= `perf says ${value} for ${name}, as on most virtual machines`;
  }
  const { cycles, instructions, "cache-references": asked, "cache-misses": missed } = counts;
  if (cycles === undefined || cycles === 0) {
    const [first = "perf said nothing"] = said.split("\n").flatMap((line) => line.trim() || []);
    return { counts: null, text: `counters: none, as ${refused ?? first}` };
  }
  const parts = [`${(cycles / 1e9).toPrecision(3)} G cycles`];
  if (instructions !== undefined) parts.push(`${(instructions / cycles).toFixed(2)} instructions a cycle`);
  if (missed !== undefined && asked !== undefined && asked > 0)
    parts.push(
      `${Math.round((100 * missed) / asked)} % of ${(asked / 1e6).toPrecision(3)} M reads of the last cache missed`,
    );
  return { counts, text: `counters: ${parts.join(", ")} (the whole process)` };
}
