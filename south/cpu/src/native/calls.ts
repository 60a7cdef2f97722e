/** What the native tier has under way. A submission is one call: small ones on the calling thread, others on a thread of their own, where
 *  the pool's threads share the loops, one submission after another. Programs of the WebAssembly tier, which a device may have from before, keep
 *  their workers; the two never have work under way at once. */

import { type Command, DeviceError, type Executable, type Fence, type Span } from "sinan/south";
import { type Arenas, type CpuMemory, give } from "../arenas.ts";
import { reservedBytes } from "../shared-memory.ts";
import {
  asError,
  copied,
  failureOf,
  type Ground,
  operationsPerByte,
  type Passage,
  type Submission,
  type Workers,
} from "../submission.ts";
import type { Commanders, Last } from "./commander.ts";
import { NativeExecutable } from "./executable.ts";
import type { Pool } from "./pool/pool.ts";
import type { Written } from "./pool/list.ts";
import { sharesOf } from "./shares.ts";

/** A submission that the pool has. */
interface Call extends Passage {
  readonly submission: Submission;
  /** About how many operations it is; 0 where it began behind another one. */
  readonly work: number;
  readonly began: number;
  /** Whether it has run on the calling thread, and only the host's turn is waited for. */
  readonly hasRun: boolean;
}

/** Grains of work below which a submission runs on the calling thread, some quarter of a millisecond: another thread takes some tens of
 *  microseconds to wake up and to tell that it is done, more than what JavaScript could do meanwhile for the next submission. */
const leastGrains = 256;
/** Milliseconds that a submission may run on the calling thread, where it took so long before, and where the caller would do nothing meanwhile. */
const mostAwaitedMs = 10;
/** Milliseconds of such submissions after which the host has a turn before their end is told: a caller that only waits for what has ended
 *  would leave none to timers and input. */
const mostWithoutTurnMs = 4;
/** Submissions that a caller makes before it waits, a read among them; and how often it did so, after which it is thought to do so again. */
const mostInTurn = 3;
const enoughWaits = 3;
/** Submissions, by their operations, of which it is known how long they took. */
const mostKnown = 256;
/** The most calls under way: more would only hold memory. */
const mostCalls = 8;

export class Calls implements Workers {
  readonly #arenas: Arenas;
  readonly #pool: Pool;
  readonly #wasm: Workers;
  readonly #ground: Ground;
  readonly #commanders: Commanders;
  readonly #threads: number;
  readonly #grain: number;
  /** In order. */
  readonly #all: Call[] = [];
  #returned: { readonly memory: CpuMemory; readonly until: Call }[] = [];
  #listener: ((span: Span) => void) | null = null;
  #closed = false;

  constructor(
    arenas: Arenas,
    pool: Pool,
    wasm: Workers,
    ground: Ground,
    commanders: Commanders,
    { threads, grain }: { readonly threads: number; readonly grain: number },
  ) {
    this.#arenas = arenas;
    this.#pool = pool;
    this.#wasm = wasm;
    this.#ground = ground;
    this.#commanders = commanders;
    this.#threads = threads;
    this.#grain = grain;
    this.#useHugePages();
  }

  get isEmpty(): boolean {
    return this.#all.length === 0 && this.#wasm.isEmpty;
  }

  of(fence: Fence): Passage | undefined {
    const { timeline, value } = fence;
    const own = this.#all.find(({ submission: { signal: s } }) => s.timeline === timeline && s.value === value);
    return own ?? this.#wasm.of(fence);
  }

  giveBack(memory: CpuMemory): void {
    const until = this.#all.at(-1);
    if (until) this.#returned.push({ memory, until });
    else this.#wasm.giveBack(memory);
  }

  reclaim(): boolean {
    const all = this.#returned.splice(0);
    for (const { memory } of all) give(memory);
    return this.#wasm.reclaim() || all.length > 0;
  }

  arenasAdded(): void {
    this.#wasm.arenasAdded();
    this.#useHugePages();
  }

  #useHugePages(): void {
    for (const { memory } of this.#arenas.all) this.#pool.useHugePages(memory, reservedBytes(memory));
  }

  wants(submission: Submission): boolean {
    return isNative(submission) || this.#all.length > 0 || this.#wasm.wants(submission);
  }

  fly(submission: Submission): boolean {
    // Copies and fills go with what is under way.
    const isOwn = isNative(submission) || (this.#all.length > 0 && submission.commands.every(isMove));
    if (!isOwn) return this.#all.length === 0 && this.#wasm.fly(submission);
    if (!this.#wasm.isEmpty || this.#all.length >= mostCalls) return false;
    const failure = failureOf(submission);
    if (failure) {
      // What it follows has failed, or will: its end is told in turn.
      this.#begin(submission, Promise.resolve());
      return true;
    }
    if (++this.#inTurn > mostInTurn) this.#waits = 0;
    try {
      const work = this.#encode(submission.commands);
      if (!this.#all.every(({ hasRun }) => hasRun)) this.#begin(submission, this.#pool.runAsync());
      else if (this.#isShort(work)) this.#runHere(submission, work);
      else this.#begin(submission, this.#pool.runAsync(), { work: this.#all.length === 0 ? work : 0 });
    } catch (error) {
      this.#begin(submission, Promise.reject(asError(error)));
    }
    return true;
  }

  #runHere(submission: Submission, work: number): void {
    const began = performance.now();
    this.#pool.run();
    this.#know(work, began);
    this.#withoutTurnMs += performance.now() - began;
    if (this.#all.length > 0 || (this.#waits >= enoughWaits && this.#withoutTurnMs >= mostWithoutTurnMs)) {
      this.#begin(submission, this.#hostTurn(), { hasRun: true });
      return;
    }
    if (this.#inTurn === 1) queueMicrotask(() => this.#idle());
    this.#tell();
    this.#ground.signal(submission.signal, undefined);
  }

  /** What ran on the calling thread since the host had a turn; the turn that it waits for. */
  #withoutTurnMs = 0;
  #turn: Promise<void> | undefined;

  #hostTurn(): Promise<void> {
    this.#turn ??= new Promise((resolve) => {
      setImmediate(() => {
        this.#turn = undefined;
        resolve();
      });
    });
    return this.#turn;
  }

  /** Submissions since the caller last had a turn with nothing under way, and how often in turn those were few. */
  #inTurn = 0;
  #waits = 0;
  readonly #took = new Map<number, number>();

  #isShort(work: number): boolean {
    if (work < leastGrains * this.#grain) return true;
    return this.#waits >= enoughWaits && (this.#took.get(work) ?? mostAwaitedMs) < mostAwaitedMs;
  }

  #know(work: number, began: number): void {
    if (this.#took.size >= mostKnown) this.#took.clear();
    this.#took.set(work, performance.now() - began);
  }

  /** The caller has a turn. */
  #idle(): void {
    if (this.#all.length > 0) return;
    if (this.#inTurn <= mostInTurn) this.#waits++;
    this.#inTurn = 0;
  }

  #begin(submission: Submission, done: Promise<void>, { work = 0, hasRun = false } = {}): void {
    const call: Call = { submission, failure: undefined, work, began: performance.now(), hasRun };
    this.#all.push(call);
    void done
      .catch((error: unknown) => {
        call.failure = asError(error);
      })
      .then(() => this.#ended(call));
  }

  /** Calls that are done, behind one that is not. */
  readonly #done = new Set<Call>();

  /** Passes the fences in order. */
  #ended(call: Call): void {
    this.#done.add(call);
    this.#withoutTurnMs = 0;
    if (this.#closed) return;
    if (call.work > 0) this.#know(call.work, call.began);
    const passed: Call[] = [];
    for (let [next] = this.#all; next && this.#done.has(next); [next] = this.#all) {
      this.#all.shift();
      this.#done.delete(next);
      next.failure = failureOf(next.submission) ?? next.failure;
      next.submission.after.length = 0;
      passed.push(next);
    }
    if (passed.length === 0) return;
    this.#idle();
    this.#tell();
    const kept = this.#returned.filter(({ until }) => !passed.includes(until));
    for (const { memory, until } of this.#returned) if (passed.includes(until)) give(memory);
    this.#returned = kept;
    for (const { submission, failure } of passed) this.#ground.signal(submission.signal, failure);
    this.#ground.drain();
  }

  /** Writes the commands for the pool; returns about how many operations they are. */
  #encode(commands: readonly Command[]): number {
    const pool = this.#pool;
    // A trace tells launches apart by numbers, which a list that was kept would have again.
    const last = this.#listener ? undefined : this.#commanders.of(commands);
    if (last?.list && !last.list.isBusy) return this.#encodeAgain(commands, last, last.list);
    pool.begin();
    const at: (readonly [number, number])[] = [];
    let work = 0;
    for (const command of commands) {
      if (last) at.push(pool.place);
      work += this.#encodeOne(command, pool);
    }
    if (last && !last.list) Object.assign(last, { list: pool.keep(), listed: commands, at: [...at, pool.place], work });
    return work;
  }

  /** The same of commands of which some were written before: all are launches, those at one place of one kernel. */
  #encodeAgain(commands: readonly Command[], last: Last, list: Written): number {
    const { listed, at, work } = last;
    last.list = undefined; // until all of it is written
    for (let i = 0; i < commands.length; i++) {
      const command = commands[i] as Command;
      if (command === listed[i]) continue;
      this.#pool.goTo(list, ...(at[i] as Last["at"][number]));
      this.#encodeOne(command, this.#pool);
    }
    this.#pool.goTo(list, ...(at[commands.length] as Last["at"][number]));
    last.listed = commands;
    last.list = list;
    return work;
  }

  #encodeOne(command: Command, pool: Pool): number {
    switch (command.kind) {
      case "launch": {
        const { executable, regions, scalars } = command;
        const own = ownExecutable(executable, regions.length, scalars.length);
        const addresses = regions.map((region) => {
          const memory = this.#arenas.at(region);
          return this.#base(memory) + memory.offset + region.offset;
        });
        pool.with(addresses, scalars);
        for (const { address, extent, work } of own.parts)
          pool.launch(address, extent, sharesOf(extent, work, this.#threads, this.#grain), work, own);
        return own.work;
      }
      case "copy": {
        const [to, from] = copied(this.#arenas, command.from, command.to);
        const { bytes } = command.to;
        const [target, source] = [
          this.#base(to) + to.offset + command.to.offset,
          this.#base(from) + from.offset + command.from.offset,
        ];
        const isApart = Math.abs(target - source) >= bytes;
        pool.copy(target, source, bytes, isApart ? this.#chunks(bytes) : 1);
        return bytes * operationsPerByte;
      }
      case "fill": {
        const to = this.#arenas.at(command.to);
        const { bytes } = command.to;
        pool.fill(this.#base(to) + to.offset + command.to.offset, command.byte, bytes, this.#chunks(bytes));
        return bytes * operationsPerByte;
      }
      case "engineRun":
      case "collective":
        throw new DeviceError(`cpu: it has no command ${command.kind}`);
      default:
        return command satisfies never;
    }
  }

  readonly #bases: number[] = [];

  /** Where an arena begins: that does not change when it grows. */
  #base({ arena }: CpuMemory): number {
    return (this.#bases[arena.index] ??= this.#pool.addressOf(arena.memory));
  }

  #chunks(bytes: number): number {
    return sharesOf(bytes, bytes * operationsPerByte, this.#threads, this.#grain);
  }

  settle(): void {
    if (!this.#wasm.isEmpty) this.#wasm.settle();
  }

  progress(): void {
    if (!this.#wasm.isEmpty) this.#wasm.progress();
  }

  trace(listener: ((span: Span) => void) | null): void {
    this.#tell();
    this.#listener = listener;
    this.#pool.tracing = listener !== null;
    this.#wasm.trace(listener);
  }

  #tell(): void {
    const listener = this.#listener;
    if (listener) for (const span of this.#pool.spans()) listener(span);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#all.length = 0;
    await this.#wasm.close();
    await this.#pool.close();
  }
}

const isMove = ({ kind }: Command): boolean => kind === "copy" || kind === "fill";

const isNative = ({ commands }: Submission): boolean =>
  commands.some((c) => c.kind === "launch" && c.executable instanceof NativeExecutable);

function ownExecutable(executable: Executable, regions: number, scalars: number): NativeExecutable {
  if (!(executable instanceof NativeExecutable))
    throw new DeviceError(`cpu: kernel ${executable.name} is none of the native tier, as others of its submission are`);
  const { name } = executable;
  if (regions !== executable.buffers || scalars !== executable.scalars)
    throw new DeviceError(
      `cpu: kernel ${name} takes ${executable.buffers} regions and ${executable.scalars} scalars, got ${regions} and ${scalars}`,
    );
  return executable;
}
