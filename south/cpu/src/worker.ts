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
/** Parts of steps whose times are kept until the owner reads them, and the numbers of each. */
const spans = 16384;
const spanFields = 6;

export const layout = {
  slots,
  /** ⌊log2 of it⌋, for tags. */
  slotBits: 12,
  fields,
  room,
  submissions,
  textLength,
  spans,
  spanFields,
  /** Int32 places: changes with every event, steps published, steps completed, memories that there are, threads that there are,
   *  whether times are taken, how many were, and how many of them are of steps that are completed. */
  generation: 0,
  published: 1,
  completed: 2,
  memories: 3,
  threads: 4,
  tracing: 5,
  traced: 6,
  told: 7,
  /** Int32 places of each submission: 0, or 1 and the number of the kernel that failed. */
  failed: 16,
  tickets: 16 + submissions,
  done: 16 + submissions + slots,
  words: 16 + submissions + 2 * slots,
  /** Bytes before the numbers, and before the texts of failures. */
  numbersAt: 4 * (16 + submissions + 2 * slots),
  numbers: slots * fields + room + spans * spanFields,
  spansAt: slots * fields + room,
  textAt: 4 * (16 + submissions + 2 * slots) + 8 * (slots * fields + room + spans * spanFields),
  bytes:
    4 * (16 + submissions + 2 * slots) +
    8 * (slots * fields + room + spans * spanFields) +
    2 * submissions * textLength,
  /** Rounds that a worker looks for work before it sleeps: some ten microseconds. */
  patience: 2000,
} as const;

/** Numbers of a step, in order. Behind its `count` arguments lie the index and the bytes of each of its `memories`. Copies and
 *  fills have bytes as iterations. */
export const field = {
  kind: 0,
  extent: 1,
  chunks: 2,
  args: 3,
  count: 4,
  submission: 5,
  last: 6,
  memories: 7,
  kernel: 8,
  code: 9,
  codeBytes: 10,
  part: 11,
} as const;

export const kind = { launch: 0, copy: 1, fill: 2 } as const;

export interface Start {
  /** All that there are: more than at the last time. */
  readonly memories: readonly WebAssembly.Memory[];
  readonly control: SharedArrayBuffer;
}

type Run = (...args: readonly number[]) => void;

/** What a worker does with each message that it gets: it serves until there are memories that it was not sent. It stands for
 *  itself: a worker gets it as text.
 *  @param tell  lets the owner know that the worker is there, or that a submission is done */
export function serving(
  at: typeof layout,
  of: typeof field,
  math: Record<string, (...args: never[]) => unknown>,
  tell: () => void,
): (start: Start) => void {
  let control = new SharedArrayBuffer(0);
  let words = new Int32Array(control);
  let numbers = new Float64Array(control);
  let thread = 0;
  const memories: WebAssembly.Memory[] = [];
  const kernels = new Map<number, Readonly<Record<string, unknown>>>();

  const read = (record: number, name: keyof typeof of): number => numbers[record + of[name]] as number;

  /** The memories of a step. Another thread may have made one grow, which this one need not have heard of. */
  const memoriesOf = (record: number): WebAssembly.Memory[] => {
    let place = at.slots * at.fields + read(record, "args") + read(record, "count");
    return Array.from({ length: read(record, "memories") }, () => {
      const memory = memories[numbers[place] as number] as WebAssembly.Memory;
      if (memory.buffer.byteLength < (numbers[place + 1] as number)) memory.grow(0);
      place += 2;
      return memory;
    });
  };
  const bytesOf = (memory: WebAssembly.Memory | undefined): Uint8Array =>
    new Uint8Array(memory?.buffer ?? new ArrayBuffer(0));

  const kernelOf = (record: number): Readonly<Record<string, unknown>> => {
    const own = memoriesOf(record);
    const id = read(record, "kernel");
    const known = kernels.get(id);
    if (known) return known;
    const code = read(record, "code");
    const text = bytesOf(own.pop()).slice(code, code + read(record, "codeBytes"));
    const env = Object.fromEntries(own.map((memory, n) => [n === 0 ? "memory" : `memory${n}`, memory]));
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(text), { env, math });
    kernels.set(id, exports);
    return exports;
  };

  const run = (record: number, begin: number, end: number): void => {
    const first = at.slots * at.fields + read(record, "args");
    const args = Array.from(numbers.subarray(first, first + read(record, "count")));
    if (read(record, "kind") === 0) {
      const exports = kernelOf(record);
      ((exports[`part${read(record, "part")}`] ?? exports["run"]) as Run)(...args, begin, end);
      return;
    }
    const [to = 0, from = 0] = args;
    const [target, source] = memoriesOf(record);
    const all = bytesOf(target);
    if (read(record, "kind") === 1) all.set(bytesOf(source).subarray(from + begin, from + end), to + begin);
    else all.fill(from, to + begin, to + end);
  };

  const fail = (record: number, cause: unknown): void => {
    const submission = read(record, "submission");
    if (Atomics.compareExchange(words, at.failed + submission, 0, 1 + read(record, "kernel")) !== 0) return;
    const message = cause instanceof Error ? cause.message : String(cause);
    const text = new Uint16Array(control, at.textAt + 2 * submission * at.textLength, at.textLength);
    text.fill(0);
    for (let i = 0; i < message.length && i < at.textLength; i++) text[i] = message.charCodeAt(i);
  };

  const clock = (): number => performance.timeOrigin + performance.now();

  /** Keeps when a part of a step ran. */
  const trace = (record: number, step: number, begin: number): void => {
    const place = (Atomics.add(words, at.traced, 1) & (at.spans - 1)) * at.spanFields;
    numbers.set([read(record, "kernel"), step, read(record, "part"), thread, begin, clock()], at.spansAt + place);
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
        const begin = Atomics.load(words, at.tracing) === 0 ? 0 : clock();
        try {
          run(record, Math.floor((extent * chunk) / chunks), Math.floor((extent * (chunk + 1)) / chunks));
        } catch (cause) {
          fail(record, cause);
        }
        if (begin !== 0) trace(record, step, begin);
      }
      const last = read(record, "last") === 1;
      if (Atomics.add(words, at.done + slot, 1) + 1 < chunks) return true;
      const next = (step + 1) | 0;
      // Its times are written, and no other step has begun.
      Atomics.store(words, at.told, Atomics.load(words, at.traced));
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

  const serve = (): void => {
    for (;;) {
      const generation = Atomics.load(words, at.generation);
      const step = Atomics.load(words, at.completed);
      const isPublished = step !== Atomics.load(words, at.published);
      // A step that was seen here uses no memory beyond these.
      if (Atomics.load(words, at.memories) !== memories.length) return;
      if (isPublished && take(step)) continue;
      let left: number = at.patience;
      while (left > 0 && Atomics.load(words, at.generation) === generation) left--;
      if (left === 0) Atomics.wait(words, at.generation, generation);
    }
  };

  return ({ memories: all, control: given }) => {
    if (memories.length === 0) {
      control = given;
      words = new Int32Array(control, 0, at.words);
      numbers = new Float64Array(control, at.numbersAt, at.numbers);
      thread = Atomics.add(words, at.threads, 1) + 1;
      tell();
    }
    memories.push(...all.slice(memories.length));
    serve();
  };
}

// Tools that name functions for stack traces call `__name`.
const prelude = "const __name = (f) => f;";
const called = (tell: string): string =>
  `(${serving.toString()})(${JSON.stringify(layout)}, ${JSON.stringify(field)}, ${mathText()}, ${tell})`;

/** The program of a worker thread of Node, Deno or Bun, which is sent each `Start`. */
export const threadProgram = (): string => `${prelude}
const { parentPort } = require("node:worker_threads");
parentPort.on("message", ${called("() => parentPort.postMessage(0)")});`;

/** The program of a Web Worker, which is sent each `Start`. */
export const webProgram = (): string => `${prelude}
const serve = ${called("() => postMessage(0)")};
onmessage = ({ data }) => serve(data);`;
