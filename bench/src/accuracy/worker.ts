/** A thread of the sweep: it is sent parts of it, and answers each with the largest error there. */
import { parentPort } from "node:worker_threads";
import { device } from "sinan";
import { functions, type Swept } from "./functions.ts";
import { sweeper, type Worst } from "./sweep.ts";

export interface Part {
  readonly name: string;
  /** Bits of f32. */
  readonly begin: number;
  readonly end: number;
}

await device("cpu", { options: { threads: 1 } });
const sweepers = new Map<string, (begin: number, end: number) => Promise<Worst>>();

parentPort?.on("message", ({ name, begin, end }: Part) => {
  const sweep = sweepers.get(name) ?? sweeper(functions[name] as Swept);
  sweepers.set(name, sweep);
  void sweep(begin, end).then((worst) => parentPort?.postMessage(worst, []));
});
