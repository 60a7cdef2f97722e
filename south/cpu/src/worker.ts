/** What a worker runs, and how the memory through which it is told is laid out. Steps are numbered without end, each in a slot
 *  of its own until all its chunks are done; `completed` is the number of the one that may run. A step's ticket holds how many of
 *  its chunks are not taken yet beside a tag of its number, so that a worker which slept for long takes nothing of another step. */

import { mathText } from "./math.ts";

/** Steps that may be under way. */
const slots = 4096;
/** Numbers of a step. */
const fields = 12;
/** Numbers for the arguments of kernels. */
const room = 1 << 16;
/** Submissions that may be under way. */
const submissions = 64;
const textLength = 256;

export const layout = {
  slots,
  /** ⌊log2 of it⌋, for tags. */
  slotBits: 12,
  fields,
  room,
  submissions,
  textLength,
  /** Int32 places: changes with every event, steps published, steps completed. */
  generation: 0,
  published: 1,
  completed: 2,
  /** Int32 places of each submission: 0, or 1 and the number of the kernel that failed. */
  failed: 16,
  tickets: 16 + submissions,
  done: 16 + submissions + slots,
  words: 16 + submissions + 2 * slots,
  /** Bytes before the numbers, and before the texts of failures. */
  numbersAt: 4 * (16 + submissions + 2 * slots),
  numbers: slots * fields + room,
  textAt: 4 * (16 + submissions + 2 * slots) + 8 * (slots * fields + room),
  bytes: 4 * (16 + submissions + 2 * slots) + 8 * (slots * fields + room) + 2 * submissions * textLength,
  /** Rounds that a worker looks for work before it sleeps: some ten microseconds. */
  patience: 2000,
} as const;

/** Numbers of a step, in order. `memory` is how many bytes the memory had; copies and fills have bytes as iterations. */
export const field = {
  kind: 0,
  extent: 1,
  chunks: 2,
  args: 3,
  count: 4,
  submission: 5,
  last: 6,
  memory: 7,
  kernel: 8,
  code: 9,
  codeBytes: 10,
  part: 11,
} as const;

export const kind = { launch: 0, copy: 1, fill: 2 } as const;

export interface Start {
  readonly memory: WebAssembly.Memory;
  readonly control: SharedArrayBuffer;
}

type Run = (...args: readonly number[]) => void;

/** The worker's loop, which never ends. It stands for itself: a worker gets it as text.
 *  @param tell  lets the owner know that the worker is there, or that a submission is done */
export function serve(
  at: typeof layout,
  of: typeof field,
  math: Record<string, (...args: never[]) => unknown>,
  { memory, control }: Start,
  tell: () => void,
): void {
  const words = new Int32Array(control, 0, at.words);
  const numbers = new Float64Array(control, at.numbersAt, at.numbers);
  const kernels = new Map<number, Readonly<Record<string, unknown>>>();

  const read = (record: number, name: keyof typeof of): number => numbers[record + of[name]] as number;

  /** All of the memory: another thread may have made it grow, which this one need not have heard of. */
  const bytes = (record: number): Uint8Array => {
    if (memory.buffer.byteLength < read(record, "memory")) memory.grow(0);
    return new Uint8Array(memory.buffer);
  };

  const kernelOf = (record: number): Readonly<Record<string, unknown>> => {
    const id = read(record, "kernel");
    const known = kernels.get(id);
    if (known) return known;
    const code = read(record, "code");
    const module = new WebAssembly.Module(bytes(record).slice(code, code + read(record, "codeBytes")));
    const { exports } = new WebAssembly.Instance(module, { env: { memory }, math });
    kernels.set(id, exports);
    return exports;
  };

  const run = (record: number, begin: number, end: number): void => {
    const first = at.slots * at.fields + read(record, "args");
    const args = Array.from(numbers.subarray(first, first + read(record, "count")));
    if (read(record, "kind") === 0) {
      const exports = kernelOf(record);
      if (memory.buffer.byteLength < read(record, "memory")) memory.grow(0);
      ((exports[`part${read(record, "part")}`] ?? exports["run"]) as Run)(...args, begin, end);
      return;
    }
    const [to = 0, from = 0] = args;
    if (read(record, "kind") === 1) bytes(record).copyWithin(to + begin, from + begin, from + end);
    else bytes(record).fill(from, to + begin, to + end);
  };

  const fail = (record: number, cause: unknown): void => {
    const submission = read(record, "submission");
    if (Atomics.compareExchange(words, at.failed + submission, 0, 1 + read(record, "kernel")) !== 0) return;
    const message = cause instanceof Error ? cause.message : String(cause);
    const text = new Uint16Array(control, at.textAt + 2 * submission * at.textLength, at.textLength);
    text.fill(0);
    for (let i = 0; i < message.length && i < at.textLength; i++) text[i] = message.charCodeAt(i);
  };

  /** Takes one chunk of the step and runs it. */
  const take = (step: number): boolean => {
    const slot = step & (at.slots - 1);
    const tag = (step >>> at.slotBits) & 0x7fff;
    for (;;) {
      const ticket = Atomics.load(words, at.tickets + slot);
      if (ticket >>> 16 !== tag || (ticket & 0xffff) === 0) return false;
      if (Atomics.compareExchange(words, at.tickets + slot, ticket, ticket - 1) !== ticket) continue;
      const record = slot * at.fields;
      const chunks = read(record, "chunks");
      const chunk = chunks - (ticket & 0xffff);
      const extent = read(record, "extent");
      if (Atomics.load(words, at.failed + read(record, "submission")) === 0) {
        try {
          run(record, Math.floor((extent * chunk) / chunks), Math.floor((extent * (chunk + 1)) / chunks));
        } catch (cause) {
          fail(record, cause);
        }
      }
      const last = read(record, "last") === 1;
      if (Atomics.add(words, at.done + slot, 1) + 1 < chunks) return true;
      const next = (step + 1) | 0;
      Atomics.store(words, at.completed, next);
      Atomics.add(words, at.generation, 1);
      // A step of one chunk is taken by this worker: the others may sleep on.
      const alone =
        next !== Atomics.load(words, at.published) && read((next & (at.slots - 1)) * at.fields, "chunks") === 1;
      if (!alone) Atomics.notify(words, at.generation);
      if (last) tell();
      return true;
    }
  };

  tell();
  for (;;) {
    const generation = Atomics.load(words, at.generation);
    const step = Atomics.load(words, at.completed);
    if (step !== Atomics.load(words, at.published) && take(step)) continue;
    let left: number = at.patience;
    while (left > 0 && Atomics.load(words, at.generation) === generation) left--;
    if (left === 0) Atomics.wait(words, at.generation, generation);
  }
}

// Tools that name functions for stack traces call `__name`.
const prelude = "const __name = (f) => f;";
const call = (start: string, tell: string): string =>
  `(${serve.toString()})(${JSON.stringify(layout)}, ${JSON.stringify(field)}, ${mathText}, ${start}, ${tell})`;

/** The program of a worker thread of Node, Deno or Bun, which finds a `Start` in its data. */
export const threadProgram = (): string => `${prelude}
const { workerData, parentPort } = require("node:worker_threads");
${call("workerData", "() => parentPort.postMessage(0)")};`;

/** The program of a Web Worker, which is sent a `Start`. */
export const webProgram = (): string => `${prelude}
onmessage = ({ data }) => { ${call("data", "() => postMessage(0)")}; };`;
