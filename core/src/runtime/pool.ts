/** The memory of one device, by size class. A freed block is kept for the next tensor of its class: work runs in order on
 *  the compute queue, so a block may be handed out again while its last reader is still under way. Beside each large block lies an
 *  untouched ArrayBuffer of its size: the collector does not see device memory, but it does see that, and so runs when
 *  blocks are taken faster than dead tensors give them back. */
import { OutOfMemoryError } from "../errors.ts";
import { hostTurn } from "./turn.ts";
import type { Device, Memory } from "./driver.ts";

/** Bytes a request takes: multiples of 64 up to 1 KiB, then eighths of a power of two. */
export function sizeClass(bytes: number): number {
  if (bytes <= 1024) return Math.max(64, Math.ceil(bytes / 64) * 64);
  const step = 2 ** (Math.floor(Math.log2(bytes - 1)) - 2) / 2;
  return Math.ceil(bytes / step) * step;
}

/** Smaller blocks are not worth an ArrayBuffer of their own. */
const felt = 65536;
/** Bytes that may be garbage before the collector gets a turn, where a quarter of the budget is more. */
const mostGarbage = 2 ** 30;
/** How the collector is urged: that many untouched ArrayBuffers of that size, dropped at once. They cost address space only, and
 *  V8 collects when it sees 2 GiB come (measured on 2 cores: 10 to 40 ms). */
const urge = { count: 8, bytes: 2 ** 28, rounds: 4 } as const;
/** What no machine gives makes V8 collect all there is before it says so, at two to three times the cost. In a page the gentle way
 *  leaves some garbage behind each time. The first size is past the limit of some engines, which then do not even try. */
const tooMuch = [2 ** 40, 2 ** 34];

export class Pool {
  readonly #device: Device;
  readonly #free = new Map<number, Memory[]>();
  readonly #weights = new Map<Memory, ArrayBuffer>();
  /** Bytes that tensors and running programs hold. */
  live = 0;
  /** Bytes kept for reuse. */
  cached = 0;
  peak = 0;
  /** The least that was live since the collector last had its turn: what is above that may be garbage. */
  #low = 0;
  /** The same since all garbage was collected for certain. */
  #floor = 0;
  budget: number;

  constructor(device: Device, budget: number) {
    this.#device = device;
    this.budget = budget;
  }

  /** @throws OutOfMemoryError; `who` names the largest holders */
  take(bytes: number, who: () => string): Memory {
    const { maxBufferBytes = Number.POSITIVE_INFINITY } = this.#device.hardware.limits;
    const size = Math.max(bytes, Math.min(sizeClass(bytes), maxBufferBytes));
    const kept = this.#free.get(size)?.pop();
    if (kept) this.cached -= size;
    else if (this.live + this.cached + size > this.budget) this.trim(this.live + this.cached + size - this.budget);
    if (this.live + size > this.budget)
      throw new OutOfMemoryError(
        `${mib(size)} more would exceed the budget of ${mib(this.budget)}; ${mib(this.live)} are in use`,
        { hint: who() },
      );
    const memory = kept ?? this.#alloc(size, who);
    this.live += size;
    this.peak = Math.max(this.peak, this.live);
    return memory;
  }

  #alloc(size: number, who: () => string): Memory {
    try {
      return this.#weighed(size);
    } catch (cause) {
      if (!(cause instanceof OutOfMemoryError)) throw cause;
      this.trim(Number.POSITIVE_INFINITY);
      try {
        return this.#weighed(size);
      } catch (again) {
        throw new OutOfMemoryError(`the device has no ${mib(size)} left; ${mib(this.live)} are in use`, {
          cause: again,
          hint: who(),
        });
      }
    }
  }

  #weighed(size: number): Memory {
    const memory = this.#device.alloc(size, "device");
    if (size >= felt) this.#weights.set(memory, weight(size));
    return memory;
  }

  give(memory: Memory): void {
    this.live -= memory.bytes;
    this.#low = Math.min(this.#low, this.live);
    this.#floor = Math.min(this.#floor, this.live);
    this.cached += memory.bytes;
    const list = this.#free.get(memory.bytes);
    if (list) list.push(memory);
    else this.#free.set(memory.bytes, [memory]);
  }

  /** Gives the collector a turn where what may be garbage exceeds a quarter of the budget: finalizers run only between
   *  macrotasks, and the collector by itself would let device memory run out. */
  async collect(): Promise<void> {
    const bearable = Math.min(this.budget / 4, mostGarbage);
    if (this.live - this.#low <= bearable) return;
    for (let round = 0; round < urge.rounds; round++) {
      await hostTurn();
      if (this.live - this.#low <= bearable / 2) break;
      for (let i = 0; i < urge.count; i++) takeUp(urge.bytes);
    }
    if (this.live - this.#floor > bearable / 2) {
      tooMuch.forEach(takeUp);
      await hostTurn();
      this.#floor = this.live;
    }
    this.#low = this.live;
  }

  /** Gives kept blocks back to the device until that many bytes are free, the largest first. */
  trim(bytes: number): void {
    let freed = 0;
    for (const [size, list] of [...this.#free].sort(([a], [b]) => b - a)) {
      for (let memory = list.pop(); memory; memory = freed < bytes ? list.pop() : undefined) {
        this.#device.free(memory);
        this.#weights.delete(memory);
        this.cached -= size;
        freed += size;
      }
      if (freed >= bytes) return;
    }
  }
}

/** An ArrayBuffer that takes no memory. Of those that may be resized the host gives whole pages, new and untouched; others come of
 *  the heap of the process, which zeroes what it used before: a third of a model's weights were then there twice. */
const weight = (bytes: number): ArrayBuffer => new ArrayBuffer(bytes, { maxByteLength: bytes });

function takeUp(bytes: number): void {
  try {
    void new ArrayBuffer(bytes);
  } catch {
    // There is not so much.
  }
}

export const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
