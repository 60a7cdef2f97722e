/** A program for the `native-start` bench: the training step of a LLaMA in a process that has compiled nothing yet. Prints the seconds until it
 *  is ready, which is traced, compiled, and its kernels built or found, and those until its first call is done, as JSON. Arguments: layers, tokens, batch,
 *  threads. */
import { llamaCase } from "./llama-step.ts";
import { openCpu } from "./processor.ts";

const [layers = 6, seq = 256, batch = 8, threads = 1] = process.argv.slice(2).map(Number);
const device = await openCpu(threads);
const step = await llamaCase({ dim: 256, heads: 8, layers, vocab: 4096, seq, batch });
const start = performance.now();
const since = (): number => (performance.now() - start) / 1000;
await step.ready();
const ready = since();
await step.run();
console.log(JSON.stringify({ device, ready, first: since() }));
