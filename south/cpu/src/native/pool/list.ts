/** A list of steps for the pool, written into arrays of doubles that are used again and again; a list whose steps are under way has its arrays
 *  to itself until they are done. */

import type { Executable } from "sinan/south";
import { operationsPerByte } from "../../submission.ts";
import type { Ffi } from "../ffi.ts";
import { spanNumbers, stepKinds, stepNumbers } from "./pool-text.ts";

/** An array that foreign code reads, and where it is. */
interface Doubles {
  array: Float64Array;
  address: number;
}

/** What a list is written in. */
export interface Written {
  readonly steps: Doubles;
  readonly numbers: Doubles;
  readonly spans: Doubles;
  /** How many steps, and at most how many spans they make. */
  count: number;
  mostSpans: number;
  /** Whose each step is; undefined for a copy or fill. */
  readonly of: (Executable | undefined)[];
  /** Which launch each step is a part of. */
  readonly launches: number[];
  /** Whether it stays as it is for later runs, and whether one of them is under way. */
  isKept: boolean;
  isBusy: boolean;
}

/** What arrays begin with: too many for V8 to keep them among its objects, where they would move. */
const leastNumbers = 1024;

export class List {
  readonly #ffi: Ffi;
  readonly #threads: number;
  readonly #spare: Written[] = [];
  #now: Written;
  #launches = 0;
  /** How many of its numbers are written, and where those of the coming launches begin. */
  #end = 0;
  #addresses = 0;
  #addressCount = 0;
  #scalars = 0;

  constructor(ffi: Ffi, threads: number) {
    this.#ffi = ffi;
    this.#threads = threads;
    this.#now = this.#blank();
  }

  get count(): number {
    return this.#now.count;
  }

  begin(): void {
    if (this.#now.isKept) this.#now = this.#spare.pop() ?? this.#blank();
    const now = this.#now;
    now.count = 0;
    now.mostSpans = 0;
    this.#end = 0;
    this.#addressCount = 0;
  }

  /** Keeps what is written for later runs. */
  keep(): Written {
    this.#now.isKept = true;
    return this.#now;
  }

  /** Goes on with a list that was kept, to write anew what begins there. What follows must be as many steps and numbers as before. */
  goTo(written: Written, step: number, number: number): void {
    if (!this.#now.isKept) this.#spare.push(this.#now);
    this.#now = written;
    written.count = step;
    this.#end = number;
  }

  /** Where the next step and its numbers will be. */
  get place(): readonly [step: number, number: number] {
    return [this.#now.count, this.#end];
  }

  /** The buffers and scalars of the launches that follow. */
  with(addresses: readonly number[], scalars: readonly number[]): void {
    const { array } = this.#reserve(addresses.length + scalars.length);
    this.#launches++;
    this.#addresses = this.#end;
    this.#addressCount = addresses.length;
    let end = this.#end;
    for (let i = 0; i < addresses.length; i++) array[end++] = addresses[i] as number;
    this.#scalars = end;
    for (let i = 0; i < scalars.length; i++) array[end++] = scalars[i] as number;
    this.#end = end;
  }

  /** Calls a function with iterations 0 to `extent`, cut into chunks that threads share. */
  launch(address: number, extent: number, chunks: number, work: number, of: Executable | undefined): void {
    this.#step(stepKinds.launch, address, extent, chunks, this.#addressCount, work, of);
  }

  /** Places that overlap are for one chunk alone, and only where the bytes may be moved in order. */
  copy(to: number, from: number, bytes: number, chunks: number): void {
    this.with([to, from], []);
    this.#step(stepKinds.copy, 0, bytes, chunks, 2, bytes * operationsPerByte, undefined);
  }

  fill(to: number, byte: number, bytes: number, chunks: number): void {
    this.with([to], [byte]);
    this.#step(stepKinds.fill, 0, bytes, chunks, 1, bytes * operationsPerByte, undefined);
  }

  #step(
    kind: number,
    address: number,
    extent: number,
    chunks: number,
    addressCount: number,
    work: number,
    of: Executable | undefined,
  ): void {
    const now = this.#now;
    const { count } = now;
    let at = count * stepNumbers;
    if (at + stepNumbers > now.steps.array.length) this.#grow(now.steps, at + stepNumbers);
    const { array } = now.steps;
    array[at++] = kind;
    array[at++] = address;
    array[at++] = extent;
    array[at++] = chunks;
    array[at++] = this.#addresses;
    array[at++] = addressCount;
    array[at++] = this.#scalars;
    array[at++] = work;
    now.of[count] = of;
    now.launches[count] = this.#launches;
    now.count = count + 1;
    now.mostSpans += Math.max(1, Math.min(chunks, this.#threads));
  }

  #reserve(more: number): Doubles {
    const { numbers } = this.#now;
    if (this.#end + more > numbers.array.length) this.#grow(numbers, this.#end + more);
    return numbers;
  }

  #grow(doubles: Doubles, least: number): void {
    const { array } = doubles;
    doubles.array = new Float64Array(Math.max(least, 2 * array.length));
    doubles.array.set(array);
    doubles.address = this.#ffi.addressOf(doubles.array);
  }

  #doubles(): Doubles {
    const array = new Float64Array(leastNumbers);
    return { array, address: this.#ffi.addressOf(array) };
  }

  #blank(): Written {
    return {
      steps: this.#doubles(),
      numbers: this.#doubles(),
      spans: this.#doubles(),
      count: 0,
      mostSpans: 0,
      of: [],
      launches: [],
      isKept: false,
      isBusy: false,
    };
  }

  /** What is written, in place. */
  written(withSpans: boolean): Written {
    const now = this.#now;
    const wanted = (now.mostSpans + 1) * spanNumbers;
    if (withSpans && now.spans.array.length < wanted) this.#grow(now.spans, wanted);
    return now;
  }

  /** What is written, to keep until it is given back; the list goes on in other arrays. */
  take(withSpans: boolean): Written {
    const taken = this.written(withSpans);
    taken.isBusy = true;
    this.#now = this.#spare.pop() ?? this.#blank();
    this.begin();
    return taken;
  }

  giveBack(written: Written): void {
    written.isBusy = false;
    if (!written.isKept) this.#spare.push(written);
  }
}
