/** The thread in which the job's inputs are tried, so that one that hangs or takes all memory ends the thread and not the job.
 *  The main thread reads from shared memory which input is being tried. */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { attempt } from "./attempt.ts";
import { formats } from "./format.ts";
import { random } from "./random.ts";

/** What is to be tried. */
export interface Work {
  readonly name: string;
  readonly seed: number;
  readonly from: number;
  readonly to: number;
  /** Number of the input that is being tried, counted from `from`. */
  readonly progress: Int32Array;
}

/** What the thread says: a failure, or what came of all when it ends. */
export type Message =
  | { readonly number: number; readonly failure: string }
  | { readonly refused: number; readonly slowest: Extreme; readonly largest: Extreme };

/** The input that took most, and how much. */
export interface Extreme {
  readonly number: number;
  readonly value: number;
}

const { name, seed, from, to, progress } = workerData as Work;
const format = (await formats()).get(name);
if (format === undefined) throw new RangeError(`there is no format ${name}`);
const port: MessagePort | null = parentPort;
const say = (message: Message): void => port?.postMessage(message, []);
let refused = 0;
let slowest: Extreme = { number: from, value: 0 };
let largest: Extreme = { number: from, value: 0 };
for (let number = from; number < to; number++) {
  Atomics.store(progress, 0, number - from);
  const outcome = await attempt(format, format.input(random(seed, number)));
  if (outcome.failure !== undefined) say({ number, failure: outcome.failure });
  if (outcome.refused) refused++;
  if (number > from + 50 && outcome.milliseconds > slowest.value) slowest = { number, value: outcome.milliseconds };
  if (outcome.allocated > largest.value) largest = { number, value: outcome.allocated };
}
Atomics.store(progress, 0, to - from);
say({ refused, slowest, largest });
