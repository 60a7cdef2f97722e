/** A program for the `llama-train` bench: steps of one model in a process of its own, as the peers have them. Prints as JSON the
 *  seconds of the first step and of a later one, and what was held at the most, in MB: by the process, and by tensors.
 *  Arguments: a StepSize as JSON, threads, timed steps. */
import process from "node:process";
import { memory } from "sinan";
import { llamaStep, type StepSize } from "./llama-step.ts";
import { median, times } from "./measure.ts";
import { openCpu } from "./processor.ts";

const [size = "{}", ...numbers] = process.argv.slice(2);
const [threads = 1, atLeast = 2] = numbers.map(Number);
await openCpu(threads);
const step = await llamaStep(JSON.parse(size) as StepSize);
const start = performance.now();
await step();
const first = (performance.now() - start) / 1000;
const taken = median(await times(step, { seconds: 0, warmup: 1, atLeast }));
const peak = process.resourceUsage().maxRSS / 1024;
console.log(JSON.stringify({ first, taken, peak, tensors: memory().peak / 2 ** 20 }));
