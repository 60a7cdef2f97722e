/** What `sinan tune` does: runs what is to be tuned, searches, and keeps what was found after each kernel. */
import { existsSync } from "node:fs";
import process from "node:process";
import { clock, painter } from "@sinan/train";
import { nodeFiles, onInterrupt } from "@sinan/train/node";
import type { TimedProgram, TuneProgress, TuningEntry, TuningFile } from "sinan/tune";
import { workloads } from "./benchmarks.ts";
import type { tuneFlags } from "./commands/tune.ts";
import { nearest, UsageError, type Values } from "./flags.ts";
import { openDevice } from "./opened.ts";
import { json, print, table, warn } from "./output.ts";
import { programAt, runToItsEnd, sinanOf } from "./program.ts";

/** How long a part of `sinan bench` is run to learn which of its kernels are slow. */
const workloadSeconds = 0.3;

/** @returns the exit code */
export async function tuned(
  values: Values<typeof tuneFlags>,
  [what = "", ...args]: readonly string[],
): Promise<number> {
  const { out = "sinan-tuning.json", seconds = 60, kernels, beam = 3, reorder = false, again = false } = values;
  const files = nodeFiles();
  const program = Object.hasOwn(workloads, what) ? undefined : programAt(what);
  if (program === undefined && !Object.hasOwn(workloads, what)) {
    const meant = nearest(what, Object.keys(workloads));
    throw new UsageError(
      `sinan tune: there is no file ${JSON.stringify(what)}`,
      meant === undefined ? {} : { hint: `Did you mean ${meant}?` },
    );
  }
  const api = program === undefined ? await import("sinan/tune") : await sinanOf(program, "sinan/tune");
  // What was kept is read before anything runs: a damaged file is to be seen now.
  const known = existsSync(out) ? await api.readTuning(files, out) : undefined;
  const listening = api.listenForPrograms();
  const code = program === undefined ? await workload(what, values.device) : await run(program, args, values.device);
  const programs: TimedProgram[] = listening.stop();
  if (code !== 0) return code;

  const interrupt = onInterrupt(() => warn("ending the search; what was found is kept"));
  const bar = progressBar();
  const found: TuningEntry[] = [];
  let keeping: Promise<void> = Promise.resolve();
  const keep = (tuning: TuningFile): Promise<void> =>
    (keeping = keeping.then(() => api.writeTuning(files, out, tuning)));
  try {
    const tuning = await api.tunePrograms(programs, {
      seconds,
      beam,
      reorder,
      ...(kernels === undefined ? {} : { kernels }),
      ...(known === undefined ? {} : { known }),
      again,
      signal: interrupt.signal,
      onProgress: bar.show,
      onFound: (entry, sofar) => {
        found.push(entry);
        bar.clear();
        if (!values.json) print(`${foundText(entry)}\n`);
        void keep(sofar).catch(() => {}); // the last one tells
      },
    });
    bar.clear();
    await keep(tuning);
    if (values.json) json(found);
    else print(summary(found, out));
    return interrupt.signal.aborted ? interrupt.exitCode() : 0;
  } finally {
    bar.clear();
    interrupt.release();
  }
}

async function workload(name: string, device: string | undefined): Promise<number> {
  await openDevice(device);
  await workloads[name]?.(workloadSeconds);
  return 0;
}

/** @returns the exit code of the program */
async function run(program: string, args: readonly string[], device: string | undefined): Promise<number> {
  if (device !== undefined) process.env["SINAN_DEVICE"] = device;
  const write = process.stdout.write.bind(process.stdout);
  // What is found goes to standard output, and nothing else.
  process.stdout.write = process.stderr.write.bind(process.stderr);
  try {
    const { code, error } = await runToItsEnd(program, args, () =>
      warn("the program ended the process, so nothing was tuned: it must end without process.exit()"),
    );
    if (error !== undefined) warn(error instanceof Error ? (error.stack ?? String(error)) : String(error));
    return code;
  } finally {
    process.stdout.write = write;
  }
}

const chosen = ({ choices }: TuningEntry): string =>
  Object.entries(choices)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");

const milliseconds = (ms: number): string => `${ms.toPrecision(3)} ms`;

function foundText(entry: TuningEntry): string {
  const [before, after] = entry.milliseconds;
  const bits = entry.sameBits ? "" : "; other last bits";
  const is = chosen(entry) === "" ? "the heuristic's is the best" : `${milliseconds(after)}: ${chosen(entry)}${bits}`;
  return `${entry.name}  ${milliseconds(before)} → ${is}`;
}

function summary(found: readonly TuningEntry[], out: string): string {
  const better = found.filter((entry) => chosen(entry) !== "");
  const rows = better.map(({ name, milliseconds: [before, after] }) => [name, `${(before / after).toFixed(2)}×`]);
  const faster = better.length === 0 ? "" : `${table([["kernel", "faster"], ...rows], "")}\n`;
  return `\n${faster}${better.length} of ${found.length} kernels are faster; kept in ${out}: SINAN_TUNING=${out} makes plans by it\n`;
}

/** One line on a terminal that is drawn over itself; nothing elsewhere. */
function progressBar(): { readonly show: (progress: TuneProgress) => void; readonly clear: () => void } {
  const { stderr } = process;
  const { dim, bold } = painter(stderr.isTTY);
  const clear = (): void => void (stderr.isTTY && stderr.write("\r\u001b[2K"));
  return {
    clear,
    show({ name, at, of, tried, gain, elapsed, left }) {
      if (!stderr.isTTY) return;
      const share = elapsed + left > 0 ? elapsed / (elapsed + left) : 0;
      const cells = Math.round(20 * share);
      const text = `${String(at + 1).padStart(String(of).length)}/${of} ${"█".repeat(cells)}${dim("░".repeat(20 - cells))}`;
      const room = Math.max(8, stderr.columns - 66);
      const most = name.length > room ? `${name.slice(0, room - 1)}…` : name;
      clear();
      stderr.write(`${text}  ETA ${clock(left)}  ${bold(most)} ${tried} tried, ${gain.toFixed(2)}×`);
    },
  };
}
