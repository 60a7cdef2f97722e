/** `npm start` in the native tier beside the same run in WebAssembly, each in a process of its own: the seconds of the whole run, and how
 *  fast its steps are once everything is compiled. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { beside, type Figure, type Peer } from "../figure.ts";
import type { Cases } from "../main.ts";
import { median } from "../measure.ts";

const root = path.resolve(import.meta.dirname, "../../..");
const run = promisify(execFile);
/** Steps that compile or build, and that follow on those. */
const early = 10;

interface Run {
  readonly seconds: number;
  readonly tokensPerSecond: number;
}

type Event =
  | { readonly event: "step"; readonly tokensPerSecond: number }
  | { readonly event: "done"; readonly seconds: number }
  | { readonly event: "eval" };

/** The main job for so many steps. */
async function train(tier: "wasm" | "native", steps: number): Promise<Run> {
  const folder = mkdtempSync(path.join(tmpdir(), "sinan-start-"));
  try {
    const flags = ["--steps", String(steps), "--out", path.join(folder, "run"), "--json"];
    const { stdout } = await run(process.execPath, ["north/cli/src/main.ts", "train", ...flags], {
      cwd: root,
      env: { ...process.env, SINAN_CPU: tier },
      maxBuffer: 2 ** 28,
    });
    const lines = stdout.split("\n").filter((line) => line.startsWith("{"));
    const events = lines.map((line) => JSON.parse(line) as Event);
    const speeds = events.flatMap((one) => (one.event === "step" ? [one.tokensPerSecond] : []));
    const done = events.find((one) => one.event === "done");
    if (!done) throw new Error(`npm start in the ${tier} tier did not end`);
    return { seconds: done.seconds, tokensPerSecond: median(speeds.slice(early)) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export const cases: Cases = async function* ({ peers, quick }): AsyncGenerator<Figure> {
  const steps = quick ? 30 : 3000;
  const native = await train("native", steps);
  const wasm = peers ? await train("wasm", steps) : undefined;
  const figure = { bench: "start", device: "cpu-native", threads: 2, note: `${steps} steps` } as const;
  const itself = (value: (one: Run) => number): Peer[] =>
    wasm ? [{ name: "wasm-tier", version: "of its own", value: value(wasm) }] : [];
  yield* beside(
    { ...figure, case: "run", value: native.seconds, unit: "s" },
    itself(({ seconds }) => seconds),
  );
  yield* beside(
    { ...figure, case: "step", value: native.tokensPerSecond, unit: "tokens/s" },
    itself(({ tokensPerSecond }) => tokensPerSecond),
  );
};
