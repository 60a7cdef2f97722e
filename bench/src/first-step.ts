/** A program for the `compile` bench: the first step of a LLaMA in a process that has compiled nothing yet. Prints the seconds of
 *  the first call and those of a later one, as JSON. Arguments: layers, tokens, batch, threads. */
import { llamaStep } from "./llama-step.ts";
import { median, times } from "./measure.ts";
import { openCpu } from "./processor.ts";

const [layers = 6, seq = 256, batch = 8, threads = 1] = process.argv.slice(2).map(Number);
const device = await openCpu(threads);
const step = await llamaStep({ dim: 256, heads: 8, layers, vocab: 4096, seq, batch });
const start = performance.now();
await step();
const first = (performance.now() - start) / 1000;
console.log(JSON.stringify({ device, first, later: median(await times(step, { warmup: 1, atLeast: 3, seconds: 0 })) }));
