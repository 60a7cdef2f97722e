/** `npm run fuzz -- [--inputs 1000000] [--only NAME] [--seed 1] [--from 0]`: damaged files of every format, given to their
 *  readers. Each must be read or refused by a typed error, in time, without memory that the file does not account for. A failure
 *  is made as small as it goes, written to .build/fuzz and printed. Ctrl-C ends the job and says what was found so far. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { attempt } from "./attempt.ts";
import { type Format, formats } from "./format.ts";
import { random } from "./random.ts";
import type { Message, Work } from "./worker.ts";

const folder = path.resolve(import.meta.dirname, "../../.build/fuzz");
/** No input has taken so long in earnest; a thread that does not go on for this long hangs. */
const hangMilliseconds = 60_000;

const { values } = parseArgs({
  options: {
    inputs: { type: "string", default: "1000000" },
    only: { type: "string" },
    seed: { type: "string", default: "1" },
    from: { type: "string", default: "0" },
  },
});
const count = (name: "inputs" | "seed" | "from"): number => {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value >= 0 && value < 2 ** 31) return value;
  console.error(`--${name}: expected a whole number, got ${JSON.stringify(values[name])}`);
  process.exit(2);
};
const [inputs, seed, first] = [count("inputs"), count("seed"), count("from")];
const all = await formats();
if (values.only !== undefined && !all.has(values.only)) {
  console.error(`--only: there is no format ${JSON.stringify(values.only)}; there are ${[...all.keys()].join(", ")}`);
  process.exit(2);
}
const chosen = [...all.keys()].filter((name) => values.only === undefined || name === values.only);
const each = Math.ceil(inputs / chosen.length);

const interrupt = new AbortController();
const isStopped = (): boolean => interrupt.signal.aborted;
let current: Worker | undefined;
process.once("SIGINT", () => {
  interrupt.abort();
  void current?.terminate();
});

const begin = performance.now();
let done = 0;
let failures = 0;
const clear = process.stdout.isTTY ? "\r\u001b[K" : "";
const say = (text: string): void => console.log(`${clear}${text}`);

function show(name: string, tried: number): void {
  const seconds = (performance.now() - begin) / 1000;
  const rate = (done + tried) / seconds;
  const left = (each * chosen.length - done - tried) / Math.max(rate, 1e-9);
  const line = `${name}: ${tried} of ${each}  ${rate.toFixed(0)}/s  ${failures} failures  ${left.toFixed(0)} s left`;
  if (process.stdout.isTTY) process.stdout.write(`${clear}${line}`);
  else console.log(line);
}

/** The failing file without the parts that the failure does not need. */
async function smaller(format: Format, bytes: Uint8Array): Promise<Uint8Array> {
  const kind = (failure: string | undefined): string | undefined => failure?.split("\n")[0]?.replaceAll(/\d+/g, "");
  const wanted = kind((await attempt(format, bytes)).failure);
  let best = bytes;
  let tries = 400;
  for (let size = best.length >> 1; size > 0 && tries > 0; size >>= 1) {
    for (let at = 0; at < best.length && tries > 0; tries--) {
      const less = Uint8Array.from([...best.subarray(0, at), ...best.subarray(at + size)]);
      if (wanted !== undefined && kind((await attempt(format, less)).failure) === wanted) best = less;
      else at += size;
    }
  }
  return best;
}

async function report(name: string, format: Format, number: number, failure: string, isAlive: boolean): Promise<void> {
  failures++;
  const whole = format.input(random(seed, number));
  const bytes = isAlive ? await smaller(format, whole) : whole;
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, `${name}-${seed}-${number}`);
  writeFileSync(file, bytes);
  say(`${name}: input ${number}: ${failure}`);
  say(
    `  ${bytes.length} bytes in ${path.relative(process.cwd(), file)}: ${JSON.stringify(new TextDecoder().decode(bytes).slice(0, 300))}`,
  );
  say(`  again: npm run fuzz -- --only ${name} --seed ${seed} --from ${number} --inputs 1`);
}

/** Tries the inputs from `from` on; returns the number from which to go on where the thread died of one, else `to`. */
async function stretch(name: string, format: Format, from: number, to: number): Promise<number> {
  const progress = new Int32Array(new SharedArrayBuffer(4));
  const workerData: Work = { name, seed, from, to, progress };
  const worker = new Worker(new URL("./worker.ts", import.meta.url), {
    workerData,
    resourceLimits: { maxOldGenerationSizeMb: 1024 },
  });
  current = worker;
  const reports: Promise<void>[] = [];
  let death = "";
  worker.on("message", (message: Message) => {
    if ("failure" in message) {
      if (failures < 20) reports.push(report(name, format, message.number, message.failure, true));
      return;
    }
    const { refused, slowest, largest } = message;
    const share = ((100 * refused) / (to - from)).toFixed(0);
    const extremes = `slowest ${slowest.value.toFixed(0)} ms (input ${slowest.number}), largest ${(largest.value / 1e6).toFixed(1)} MB (input ${largest.number})`;
    say(`${name}: ${to - from} inputs, ${share} % refused, ${extremes}`);
  });
  worker.on(
    "error",
    (error: unknown) => (death = error instanceof Error ? (error.stack ?? error.message) : String(error)),
  );
  let last = -1;
  let since = performance.now();
  const watch = setInterval(
    () => {
      const now = Atomics.load(progress, 0);
      if (now !== last) since = performance.now();
      else if (performance.now() - since > hangMilliseconds) {
        death = `hangs for ${hangMilliseconds / 1000} s`;
        void worker.terminate();
      }
      last = now;
      show(name, from - first + now);
    },
    process.stdout.isTTY ? 1000 : 20_000,
  );
  await new Promise((resolve) => worker.on("exit", resolve));
  clearInterval(watch);
  await Promise.all(reports);
  const number = from + Atomics.load(progress, 0);
  if (death === "" || isStopped()) return to;
  await report(name, format, number, death, false);
  return number + 1;
}

for (const name of chosen) {
  const format = all.get(name);
  if (format === undefined || isStopped()) continue;
  for (let from = first; from < first + each && !isStopped(); ) from = await stretch(name, format, from, first + each);
  done += each;
}
const seconds = ((performance.now() - begin) / 1000).toFixed(0);
say(`${isStopped() ? "stopped" : `${each * chosen.length} inputs`} after ${seconds} s, ${failures} failures`);
process.exit(isStopped() ? 130 : failures > 0 ? 1 : 0);
