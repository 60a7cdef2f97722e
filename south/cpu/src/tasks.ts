/** The queue through which workers are given steps: the owner's side of the memory that `worker.ts` describes. Nothing here waits. */

import { DeviceError } from "sinan/south";
import { field, layout } from "./worker.ts";

export interface Task {
  readonly kind: number;
  /** Iterations, or bytes. */
  readonly extent: number;
  /** Parts of it that threads take one at a time. */
  readonly chunks: number;
  readonly args: readonly number[];
  /** The memories by their indices, and how many bytes they have: those of a kernel's instance, and then that of its code; those
   *  of a copy or fill, the one that is written first. */
  readonly memories: readonly { readonly index: number; readonly bytes: number }[];
  readonly submission: number;
  readonly kernel: number;
  readonly part: number;
  /** Where the kernel's code lies in the memory, and how many bytes it is. */
  readonly code: number;
  readonly codeBytes: number;
}

/** The most chunks of a task. */
export const maxChunks = 0xffff;

export class TaskQueue {
  readonly control = new SharedArrayBuffer(layout.bytes);
  readonly #words = new Int32Array(this.control, 0, layout.words);
  readonly #numbers = new Float64Array(this.control, layout.numbersAt, layout.numbers);
  /** The next step's number. */
  #next = 0;
  /** Where the next arguments go, counted without end; and behind the arguments of each slot's step. */
  #head = 0;
  #tail = 0;
  #freed = 0;
  readonly #ends = new Float64Array(layout.slots);

  /** Steps before this one are done. */
  get completed(): number {
    return Atomics.load(this.#words, layout.completed);
  }

  /** Whether a step, by its number, is done. */
  isDone(step: number): boolean {
    return ((this.completed - step) | 0) > 0;
  }

  /** Lets workers know how many memories there are; one that has fewer gives its thread a turn, to be sent them. */
  announce(memories: number): void {
    Atomics.store(this.#words, layout.memories, memories);
    this.#wake();
  }

  #wake(): void {
    Atomics.add(this.#words, layout.generation, 1);
    Atomics.notify(this.#words, layout.generation);
  }

  /** Whether something was put that is not published. */
  get hasNew(): boolean {
    return Atomics.load(this.#words, layout.published) !== this.#next;
  }

  /** Appends a task; `false` if there is no room for it now. Workers see it once it is published.
   *  @throws DeviceError if no worker could finish it: the queue would stand still for good */
  put(task: Task): boolean {
    if (!(task.chunks >= 1 && task.chunks <= maxChunks))
      throw new DeviceError(`cpu: a step has 1 to ${maxChunks} chunks, got ${task.chunks}`);
    const { completed } = this;
    if (((this.#next - completed) | 0) >= layout.slots) return false;
    for (; this.#freed !== completed; this.#freed = (this.#freed + 1) | 0)
      this.#tail = this.#ends[this.#freed & (layout.slots - 1)] as number;
    const all = [...task.args, ...task.memories.flatMap(({ index, bytes }) => [index, bytes])];
    const count = all.length;
    const left = layout.room - (this.#head % layout.room);
    // Arguments lie side by side.
    const start = count <= left ? this.#head : this.#head + left;
    if (start + count - this.#tail > layout.room) return false;
    const slot = this.#next & (layout.slots - 1);
    this.#head = this.#ends[slot] = start + count;
    this.#numbers.set(all, layout.slots * layout.fields + (start % layout.room));
    const record = slot * layout.fields;
    const write = (name: keyof typeof field, value: number): void => {
      this.#numbers[record + field[name]] = value;
    };
    write("kind", task.kind);
    write("extent", task.extent);
    write("chunks", task.chunks);
    write("args", start % layout.room);
    write("count", task.args.length);
    write("memories", task.memories.length);
    write("submission", task.submission);
    write("last", 0);
    write("kernel", task.kernel);
    write("code", task.code);
    write("codeBytes", task.codeBytes);
    write("part", task.part);
    Atomics.store(this.#words, layout.done + slot, 0);
    const tag = (this.#next >>> layout.slotBits) & 0x7fff;
    Atomics.store(this.#words, layout.tickets + slot, (tag << 16) | task.chunks);
    this.#next = (this.#next + 1) | 0;
    return true;
  }

  /** Gives workers what was put; the owner is told when the last of it is done. Returns that step's number. */
  publish(): number {
    const last = (this.#next - 1) | 0;
    if (!this.hasNew) return last;
    this.#numbers[(last & (layout.slots - 1)) * layout.fields + field.last] = 1;
    Atomics.store(this.#words, layout.published, this.#next);
    this.#wake();
    return last;
  }

  /** Whether workers keep the times of what they run. */
  set tracing(is: boolean) {
    Atomics.store(this.#words, layout.tracing, is ? 1 : 0);
  }

  #read = 0;

  /** The times of completed steps since the last time; the oldest are lost where they are too many. */
  spans(): {
    readonly kernel: number;
    readonly step: number;
    readonly part: number;
    readonly thread: number;
    readonly begin: number;
    readonly end: number;
  }[] {
    const count = Atomics.load(this.#words, layout.told);
    const found = [];
    for (let n = Math.max(this.#read, count - layout.spans); n < count; n++) {
      const place = layout.spansAt + (n & (layout.spans - 1)) * layout.spanFields;
      const [kernel = 0, step = 0, part = 0, thread = 0, begin = 0, end = 0] = this.#numbers.subarray(
        place,
        place + layout.spanFields,
      );
      found.push({ kernel, step, part, thread, begin, end });
    }
    this.#read = count;
    return found;
  }

  /** Makes a submission's number ready for another one. */
  clear(submission: number): void {
    Atomics.store(this.#words, layout.failed + submission, 0);
  }

  /** The kernel at which a submission failed, and why. */
  failureOf(submission: number): { readonly kernel: number; readonly message: string } | undefined {
    const failed = Atomics.load(this.#words, layout.failed + submission);
    if (failed === 0) return undefined;
    const text = new Uint16Array(this.control, layout.textAt + 2 * submission * layout.textLength, layout.textLength);
    const end = text.indexOf(0);
    const message = String.fromCharCode(...text.subarray(0, end < 0 ? text.length : end));
    return { kernel: failed - 1, message };
  }
}
