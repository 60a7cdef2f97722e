/** The threads of the native tier, as JavaScript sees them: a list of steps is written, then run in one call, on this thread or beside it. */

import { type DeviceError, DeviceLostError, type Executable, OutOfMemoryError, type Span } from "sinan/south";
import type { Ffi } from "../ffi.ts";
import { List, type Written } from "./list.ts";
import { spanNumbers } from "./pool-text.ts";

/** Runs lists of steps, each step after the one before it. */
export interface Pool {
  readonly threads: number;
  /** Where a memory begins in the process. */
  addressOf(memory: WebAssembly.Memory): number;
  /** Asks the system for huge pages in so many bytes of a memory, those among them into which it will grow. Where it has none, nothing changes. */
  useHugePages(memory: WebAssembly.Memory, bytes: number): void;
  /** Begins a list. */
  begin(): void;
  /** Keeps the list for later runs. */
  keep(): Written;
  /** Goes on with a list that was kept: its steps from one on are written anew, as many as there were, with as many numbers. */
  goTo(written: Written, step: number, number: number): void;
  /** Where the next step of the list and its numbers will be. */
  readonly place: readonly [step: number, number: number];
  /** The buffers and scalars of the launches that follow. */
  with(addresses: readonly number[], scalars: readonly number[]): void;
  /** Calls `void part(char *const *buffers, const double *scalars, int64_t begin, int64_t end)` so that each iteration from 0 to
   *  `extent` is in one call; threads share the chunks that they are cut into.
   *  @param work  about how many operations it is: threads are not woken for few */
  launch(address: number, extent: number, chunks: number, work: number, of?: Executable): void;
  /** Of places that do not overlap. */
  copy(to: number, from: number, bytes: number, chunks: number): void;
  fill(to: number, byte: number, bytes: number, chunks: number): void;
  /** Runs the list, after those given before, on this thread and the pool's.
   *  @throws DeviceLostError if the pool is closed */
  run(): void;
  /** Runs it beside this thread, after those given before; the next list may be begun at once. The process lives until it is done.
   *  @throws DeviceLostError (as a rejection) if the pool is closed before it is done */
  runAsync(): Promise<void>;
  /** Whether times are kept of lists that are run from now on. */
  tracing: boolean;
  /** Those kept of lists that were done since the last time. */
  spans(): readonly Span[];
  /** Ends the threads. Lists under way are done first; those that wait for them are given up. */
  close(): Promise<void>;
}

/** Lists that the pool's thread has at once: the next is there when one ends, whatever this thread does meanwhile. Each has a thread
 *  of the host waiting for it, so that a worker that is ended leaves no list behind that reads its memory. */
const mostInFlight = 2;

interface Flight {
  readonly written: Written;
  readonly hasSpans: boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  /** How many of its steps were run; undefined until it ended. */
  result: number | undefined;
}

/** The functions of the pool's library. */
type Functions = ReturnType<typeof functionsOf>;

function functionsOf(ffi: Ffi, path: string) {
  const library = ffi.open(path);
  const list = "uintptr_t pool, uintptr_t steps, int64_t count, uintptr_t numbers, uintptr_t spans";
  return {
    open: library.function("double sinan_open(int32_t threads)"),
    run: library.function(`int32_t sinan_run(${list})`),
    submit: library.function(`double sinan_submit(${list})`),
    wait: library.function("int32_t sinan_wait(uintptr_t pool, double number)"),
    close: library.function("void sinan_close(uintptr_t pool, int32_t isFree)"),
    useHugePages: library.function("void sinan_use_huge_pages(uintptr_t begin, double bytes)"),
    now: library.function("double sinan_now()"),
  };
}

/** Pools whose threads are to end with the process, before what they read does. */
const open = new Map<number, Functions>();
let isWatching = false;

function endWithProcess(): void {
  if (isWatching) return;
  isWatching = true;
  const { process } = globalThis as { readonly process?: { on?(event: "exit", listener: () => void): void } };
  process?.on?.("exit", () => {
    for (const [pool, { close }] of open) close(pool, 0);
  });
}

/** Opens a pool. Its threads begin with the first step that they can share.
 *
 *  @param path     the shared object that was built of `poolText`
 *  @param threads  how many share a step, the one that runs the list among them
 *  @throws DeviceError if the system does not load it; OutOfMemoryError */
export function openPool(ffi: Ffi, path: string, { threads }: { readonly threads: number }): Pool {
  const native = functionsOf(ffi, path);
  const pool = native.open(threads);
  if (pool === 0) throw new OutOfMemoryError(`cpu: there is no memory for a pool of ${threads} threads`);
  open.set(pool, native);
  endWithProcess();
  return new NativePool(ffi, native, pool, threads);
}

class NativePool implements Pool {
  readonly threads: number;
  tracing = false;
  readonly #ffi: Ffi;
  readonly #native: Functions;
  readonly #pool: number;
  readonly #list: List;
  /** Lists that the pool's thread has, and those that wait for it, in order. */
  readonly #flights: Flight[] = [];
  readonly #queue: Flight[] = [];
  readonly #spans: Span[] = [];
  #onIdle: (() => void) | undefined;
  #isClosed = false;
  /** What the clock of the spans, in milliseconds, is behind the epoch's. */
  #epoch: number | undefined;

  constructor(ffi: Ffi, native: Functions, pool: number, threads: number) {
    this.#ffi = ffi;
    this.#native = native;
    this.#pool = pool;
    this.threads = threads;
    this.#list = new List(ffi, threads);
  }

  addressOf(memory: WebAssembly.Memory): number {
    return this.#ffi.baseOf(memory);
  }

  useHugePages(memory: WebAssembly.Memory, bytes: number): void {
    this.#native.useHugePages(this.addressOf(memory), bytes);
  }

  begin(): void {
    this.#list.begin();
  }

  keep(): Written {
    return this.#list.keep();
  }

  goTo(written: Written, step: number, number: number): void {
    this.#list.goTo(written, step, number);
  }

  get place(): readonly [step: number, number: number] {
    return this.#list.place;
  }

  with(addresses: readonly number[], scalars: readonly number[]): void {
    this.#list.with(addresses, scalars);
  }

  launch(address: number, extent: number, chunks: number, work: number, of?: Executable): void {
    this.#list.launch(address, extent, chunks, work, of);
  }

  copy(to: number, from: number, bytes: number, chunks: number): void {
    this.#list.copy(to, from, bytes, chunks);
  }

  fill(to: number, byte: number, bytes: number, chunks: number): void {
    this.#list.fill(to, byte, bytes, chunks);
  }

  run(): void {
    if (this.#isClosed) throw closed();
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
      next.result = this.#runHere(next.written, next.hasSpans);
      this.#flights.push(next);
    }
    const hasSpans = this.tracing;
    const written = this.#list.written(hasSpans);
    const failure = failureOf(this.#runHere(written, hasSpans), written);
    if (hasSpans) this.#keepSpans(written);
    if (failure) throw failure;
  }

  #runHere({ steps, count, numbers, spans }: Written, hasSpans: boolean): number {
    return this.#native.run(this.#pool, steps.address, count, numbers.address, hasSpans ? spans.address : 0);
  }

  runAsync(): Promise<void> {
    if (this.#isClosed) return Promise.reject(closed());
    return new Promise((resolve, reject) => {
      const hasSpans = this.tracing;
      this.#queue.push({ written: this.#list.take(hasSpans), hasSpans, resolve, reject, result: undefined });
      this.#feed();
    });
  }

  /** Gives the pool's thread what waits for it. */
  #feed(): void {
    while (this.#flights.length < mostInFlight) {
      const flight = this.#queue.shift();
      if (!flight) break;
      this.#flights.push(flight);
      const { steps, count, numbers, spans } = flight.written;
      const list = [steps.address, count, numbers.address, flight.hasSpans ? spans.address : 0];
      const number = this.#native.submit(this.#pool, ...list);
      if (number < 0) {
        // The system has no thread for it.
        flight.result = this.#runHere(flight.written, flight.hasSpans);
        queueMicrotask(() => this.#settle());
        continue;
      }
      const ended = (error: unknown, result: number): void => {
        flight.result = error ? this.#native.wait(this.#pool, number) : result;
        this.#settle();
      };
      try {
        this.#native.wait.async(this.#pool, number, ended);
      } catch (error) {
        // Other users of koffi have as many calls under way as it allows.
        ended(error, -1);
      }
    }
  }

  /** Tells the ends in order. */
  #settle(): void {
    for (let first = this.#flights[0]; first && first.result !== undefined; first = this.#flights[0]) {
      this.#flights.shift();
      const { written, hasSpans, resolve, reject } = first;
      const failure = failureOf(first.result ?? 0, written);
      if (hasSpans) this.#keepSpans(written);
      this.#list.giveBack(written);
      if (failure) reject(failure);
      else resolve();
    }
    this.#feed();
    if (this.#flights.length === 0) this.#onIdle?.();
  }

  #keepSpans({ spans: { array }, of, launches }: Written): void {
    this.#epoch ??= epochOf(this.#native);
    const count = array[0] ?? 0;
    for (let i = 1; i <= count; i++) {
      const [step = 0, thread = 0, begin = 0, end = 0] = array.subarray(i * spanNumbers, (i + 1) * spanNumbers);
      this.#spans.push({
        executable: of[step],
        thread,
        launch: launches[step] ?? 0,
        begin: this.#epoch + begin / 1e6,
        end: this.#epoch + end / 1e6,
      });
    }
  }

  spans(): readonly Span[] {
    return this.#spans.splice(0);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const { reject } of this.#queue.splice(0)) reject(closed());
    if (this.#flights.length > 0)
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    open.delete(this.#pool);
    this.#native.close(this.#pool, 1);
  }
}

const closed = (): DeviceLostError => new DeviceLostError("cpu: the pool of threads is closed");

function failureOf(result: number, { count }: Written): DeviceError | undefined {
  if (result === count) return undefined;
  return result < 0
    ? new OutOfMemoryError("cpu: there is no memory for the addresses of a launch")
    : new DeviceLostError(`cpu: the pool of threads was closed after ${result} of ${count} steps`);
}

/** When the clock of the spans began, in milliseconds since the epoch: the least of some readings, which are late by what lies between. */
function epochOf({ now }: Functions): number {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    const begin = now() / 1e6;
    least = Math.min(least, performance.timeOrigin + performance.now() - begin);
  }
  return least;
}
