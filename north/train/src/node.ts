/** The parts of training that need Node: files and signals. */
export { nodeFiles } from "./files/index.ts";
export { type Interrupt, interrupted, onInterrupt } from "./interrupt.ts";
