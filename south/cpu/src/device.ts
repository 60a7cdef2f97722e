/** The CPU as a device: buffers in one WebAssembly memory, kernels as WebAssembly modules, work run as soon as what it
 *  waits for is done: small work on the calling thread, large work by workers, which share the loops. */

import { ArgumentError, DeviceError, DeviceLostError, KernelError, OutOfMemoryError } from "sinan/south";
import {
  type Artifact,
  type Command,
  type Device,
  type Executable,
  type Fence,
  Fences,
  type HardwareModel,
  type Loss,
  type Memory,
  type MemorySpace,
  type Queue,
  type Region,
} from "sinan/south";
import { type Arena, newArena } from "./arena.ts";
import { type Crew, startCrew } from "./crew.ts";
import { math } from "./math.ts";
import { maxChunks, type Task, TaskQueue } from "./tasks.ts";
import { codegenName, partsSection } from "./wasm/render.ts";
import { kind, layout } from "./worker.ts";

type Run = (...args: readonly number[]) => void;

export interface CpuOptions {
  /** Whether other threads can be given the memory: what `hardware.features` says. */
  readonly shared: boolean;
  /** Threads that share the loops of large kernels. With one, all work runs on the calling thread. */
  readonly threads: number;
  /** About how many operations are worth a thread's while: less is not shared. */
  readonly grain: number;
  /** Where the program of a Web Worker is, if it has a place of its own. */
  readonly worker?: string | undefined;
}

class CpuMemory implements Memory {
  readonly arena: Arena;
  readonly offset: number;
  readonly bytes: number;
  readonly space: MemorySpace;
  freed = false;

  constructor(arena: Arena, offset: number, bytes: number, space: MemorySpace) {
    this.arena = arena;
    this.offset = offset;
    this.bytes = bytes;
    this.space = space;
  }

  view(): Uint8Array {
    if (this.freed) throw new ArgumentError("cpu: a freed memory was read");
    return new Uint8Array(this.arena.memory.buffer, this.offset, this.bytes);
  }
}

/** A kernel's code, loaded once however many artifacts hold it. */
interface Kernel {
  readonly id: number;
  readonly code: Uint8Array<ArrayBuffer>;
  readonly run: Run;
  readonly parts: readonly Part[];
  /** About how many operations a launch is. */
  readonly work: number;
  /** Where the workers find the code. */
  at: number | undefined;
}

/** What workers do one after another: so many iterations, about so many operations. */
interface Part {
  readonly extent: number;
  readonly work: number;
}

class CpuExecutable implements Executable {
  readonly name: string;
  readonly kernel: Kernel;
  /** How many regions and scalars it takes. */
  readonly arity: number;

  constructor(name: string, kernel: Kernel) {
    this.name = name;
    this.kernel = kernel;
    this.arity = kernel.run.length;
  }
}

interface Submission {
  readonly commands: readonly Command[];
  readonly signal: Fence;
  /** Fences that have not passed yet. */
  waiting: number;
  /** What workers run before it, that it depends on. */
  readonly after: Flight[];
  /** Why one of those that passed did so by failing. */
  failure: Error | undefined;
}

/** A submission that the workers have, or a part of it where there is no room for all. */
interface Flight {
  readonly submission: Submission;
  /** Among those under way. */
  readonly number: number;
  /** The next command to give them, and the next part of it. */
  command: number;
  part: number;
  isBegun: boolean;
  /** The last step, once all are given. */
  last: number | undefined;
  /** Kernels by their ids, for messages. */
  readonly names: Map<number, string>;
  failure: Error | undefined;
}

/** The id of copies and fills. */
const noKernel = 0;
/** Operations in the time that moves a byte. */
const operationsPerByte = 4;
/** Chunks for each thread: some finish sooner than others. */
const chunksPerThread = 4;
/** Grains of work below which a submission runs on the calling thread: workers take some tenths of a millisecond to wake up
 *  and to tell that they are done. */
const leastGrains = 32;

class CpuDevice implements Device {
  readonly hardware: HardwareModel;
  readonly lost: Promise<Loss>;
  #lose: (loss: Loss) => void = () => {};
  readonly #arena: Arena;
  readonly #grain: number;
  readonly #worker: string | undefined;
  /** 1 once there turn out to be no workers. */
  #threads: number;
  #crew: Crew | undefined;
  #tasks: TaskQueue | undefined;
  /** What the workers have, in order. */
  readonly #flights: Flight[] = [];
  readonly #numbers: number[] = [];
  /** Memory given back while workers may still use it, and until when. */
  #returned: { readonly offset: number; readonly until: Flight }[] = [];
  /** Memory given back while submissions that may use it have not begun. */
  readonly #deferred: number[] = [];
  #begun = false;
  #workers = 0;
  readonly #fences = new Fences();
  readonly #modules = new Map<number, { readonly code: Uint8Array; readonly kernel: Promise<Kernel> }[]>();
  #kernels = noKernel;
  readonly #queues: Record<Queue, Submission[]> = { compute: [], copy: [] };
  #draining = false;
  #closed = false;

  constructor(hardware: HardwareModel, { shared, threads, grain, worker }: CpuOptions) {
    this.hardware = hardware;
    this.#arena = newArena(shared);
    this.#threads = shared ? threads : 1;
    this.#grain = grain;
    this.#worker = worker;
    this.lost = new Promise((resolve) => {
      this.#lose = resolve;
    });
  }

  alloc(bytes: number, space: MemorySpace): Memory {
    this.#open();
    if (!Number.isSafeInteger(bytes) || bytes < 0)
      throw new ArgumentError(`cpu: alloc takes a number of bytes, got ${bytes}`);
    return new CpuMemory(this.#arena, this.#take(bytes, space), bytes, space);
  }

  #take(bytes: number, space: MemorySpace): number {
    try {
      return this.#arena.take(bytes);
    } catch (cause) {
      // Work runs in order, so memory that only work will write need not wait for what used it before.
      if (!(cause instanceof OutOfMemoryError) || space === "host" || this.#returned.length === 0) throw cause;
      for (const { offset } of this.#returned.splice(0)) this.#arena.give(offset);
      return this.#arena.take(bytes);
    }
  }

  free(memory: Memory): void {
    const own = this.#own(memory);
    if (this.#closed) return;
    if (own.freed) throw new ArgumentError("cpu: a memory was freed twice");
    own.freed = true;
    if (this.#isQueued()) this.#deferred.push(own.offset);
    else this.#giveBack(own.offset);
  }

  /** Whether submissions wait that have not begun. */
  #isQueued(): boolean {
    return this.#queues.compute.length + this.#queues.copy.length > 0;
  }

  /** At once, or when what the workers have so far is done. */
  #giveBack(offset: number): void {
    const until = this.#flights.at(-1);
    if (until) this.#returned.push({ offset, until });
    else this.#arena.give(offset);
  }

  async load(artifact: Artifact): Promise<Executable> {
    this.#open();
    const { codegen, name, code } = artifact;
    if (codegen !== codegenName || typeof code === "string")
      throw new DeviceError(
        `cpu: kernel ${name} is ${typeof code === "string" ? "text" : "code"} of ${codegen}; the device takes the bytes of ${codegenName}`,
      );
    return new CpuExecutable(name, await this.#module(name, code));
  }

  #module(name: string, code: Uint8Array<ArrayBuffer>): Promise<Kernel> {
    const hash = hashBytes(code);
    const known = this.#modules.get(hash) ?? [];
    const same = known.find((m) => equal(m.code, code));
    if (same) return same.kernel;
    const own = code.slice();
    const kernel = this.#instantiate(name, own);
    this.#modules.set(hash, [...known, { code: own, kernel }]);
    return kernel;
  }

  async #instantiate(name: string, code: Uint8Array<ArrayBuffer>): Promise<Kernel> {
    try {
      const module = await WebAssembly.compile(code);
      const { exports } = await WebAssembly.instantiate(module, { env: { memory: this.#arena.memory }, math });
      if (typeof exports.run !== "function") throw new DeviceError("it exports no function `run`");
      const parts = partsOf(module);
      const work = parts.reduce((sum, part) => sum + part.work, 0);
      return { id: ++this.#kernels, code, run: exports.run, parts, work, at: undefined };
    } catch (cause) {
      throw new DeviceError(`cpu: kernel ${name} is refused: ${messageOf(cause)}`, { cause });
    }
  }

  submit(queue: Queue, commands: readonly Command[], wait: readonly Fence[], signal: Fence): void {
    this.#open();
    // Memory that is freed from here on still serves what was submitted.
    const failure = commands.some((c) => regionsOf(c).some(({ memory }) => memory instanceof CpuMemory && memory.freed))
      ? new DeviceError("cpu: a command uses memory that was freed")
      : undefined;
    const submission: Submission = { commands, signal, waiting: wait.length, after: [], failure };
    this.#queues[queue].push(submission);
    for (const fence of wait) {
      // Workers keep the order by themselves.
      const flight = this.#flights.find(
        ({ submission: { signal: s } }) => s.timeline === fence.timeline && s.value === fence.value,
      );
      if (flight) {
        submission.after.push(flight);
        submission.waiting--;
        continue;
      }
      this.#fences.after(fence, (failure) => {
        submission.failure ??= failure;
        submission.waiting--;
        if (submission.waiting === 0) this.#drain();
      });
    }
    this.#drain();
  }

  /** Runs what no longer waits, in the order of each queue. */
  #drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    try {
      for (let ran = true; ran; ) {
        ran = false;
        for (const queue of [this.#queues.compute, this.#queues.copy]) {
          for (let next = queue[0]; next?.waiting === 0 && this.#run(next); next = queue[0]) {
            queue.shift();
            ran = true;
          }
        }
      }
    } finally {
      this.#draining = false;
    }
    if (!this.#isQueued()) for (const offset of this.#deferred.splice(0)) this.#giveBack(offset);
  }

  /** Runs it here, or gives it to the workers; `false` where neither can be done yet. */
  #run(submission: Submission): boolean {
    if (this.#flights.length > 0) this.#settle();
    if (this.#flights.length > 0 || (this.#threads > 1 && this.#isLarge(submission) && this.#start()))
      return this.#fly(submission);
    this.#runHere(submission);
    return true;
  }

  #runHere(submission: Submission): void {
    const { commands, signal } = submission;
    const failure = failureOf(submission);
    if (failure) return this.#fences.signal(signal, failure);
    try {
      for (const command of commands) this.#execute(command);
    } catch (error) {
      return this.#fences.signal(signal, asError(error));
    }
    this.#fences.signal(signal);
  }

  #isLarge({ commands }: Submission): boolean {
    const least = leastGrains * this.#grain;
    let work = 0;
    for (const command of commands) {
      if (command.kind === "launch" && command.executable instanceof CpuExecutable)
        work += command.executable.kernel.work;
      else if (command.kind === "copy" || command.kind === "fill") work += command.to.bytes * operationsPerByte;
      if (work >= least) return true;
    }
    return false;
  }

  /** Whether there are workers, which begin at the first work for them. */
  #start(): boolean {
    if (this.#crew) return true;
    const tasks = new TaskQueue();
    this.#tasks = tasks;
    this.#numbers.push(...Array.from({ length: layout.submissions }, (_, i) => i));
    this.#workers = this.#threads;
    try {
      this.#crew = startCrew(
        this.#threads,
        { memory: this.#arena.memory, control: tasks.control },
        {
          progress: () => {
            this.#begun = true;
            this.#progress();
          },
          lost: (cause, isNew) => this.#lostWorker(cause, isNew),
        },
        this.#worker,
      );
    } catch {
      this.#threads = 1;
    }
    return this.#crew !== undefined;
  }

  #progress(): void {
    this.#settle();
    const last = this.#flights.at(-1);
    if (last?.last === undefined && last) this.#give(last);
    this.#drain();
  }

  #fly(submission: Submission): boolean {
    const before = this.#flights.at(-1);
    if (before && before.last === undefined) return false;
    const number = this.#numbers.pop();
    if (number === undefined) return false;
    this.#tasks?.clear(number);
    const flight: Flight = {
      submission,
      number,
      command: 0,
      part: 0,
      isBegun: false,
      last: undefined,
      names: new Map(),
      failure: undefined,
    };
    if (failureOf(submission)) flight.command = submission.commands.length;
    if (this.#flights.push(flight) === 1) this.#crew?.hold(true);
    this.#give(flight);
    return true;
  }

  /** Gives workers what there is room for. */
  #give(flight: Flight): void {
    const tasks = this.#tasks as TaskQueue;
    const { commands } = flight.submission;
    const bytes = this.#arena.memory.buffer.byteLength;
    try {
      while (flight.command < commands.length) {
        const command = commands[flight.command] as Command;
        const all = this.#tasksOf(command, flight);
        for (; flight.part < all.length; flight.part++) {
          if (!tasks.put(all[flight.part] as Task, bytes)) {
            tasks.publish();
            return;
          }
          flight.isBegun = true;
        }
        flight.command++;
        flight.part = 0;
      }
    } catch (error) {
      flight.failure ??= asError(error);
    }
    const nothing = { ...this.#move(kind.fill, 0, [0, 0], flight), chunks: 1 };
    if (!flight.isBegun && !tasks.put(nothing, bytes)) {
      tasks.publish();
      return;
    }
    flight.last = tasks.publish();
  }

  #tasksOf(command: Command, flight: Flight): Task[] {
    switch (command.kind) {
      case "launch": {
        const { executable, args } = this.#launchOf(command.executable, command.regions, command.scalars);
        const { kernel } = executable;
        kernel.at ??= this.#place(kernel.code);
        const common = {
          args,
          submission: flight.number,
          kernel: kernel.id,
          code: kernel.at,
          codeBytes: kernel.code.length,
        };
        flight.names.set(kernel.id, executable.name);
        return kernel.parts.map(({ extent, work }, part) => ({
          ...common,
          kind: kind.launch,
          extent,
          chunks: this.#chunks(extent, work),
          part,
        }));
      }
      case "copy": {
        const [to, from] = this.#copyOf(command.from, command.to);
        return [
          this.#move(
            kind.copy,
            Math.abs(to - from) < command.to.bytes ? -command.to.bytes : command.to.bytes,
            [to, from],
            flight,
          ),
        ];
      }
      case "fill":
        return [this.#move(kind.fill, command.to.bytes, [this.#address(command.to), command.byte], flight)];
      case "engineRun":
      case "collective":
        throw new DeviceError(`cpu: it has no command ${command.kind}`);
      default:
        return command satisfies never;
    }
  }

  /** A copy or fill; of a negative number of bytes, one that must be done at a stroke. */
  #move(kind: number, bytes: number, args: readonly number[], { number }: Flight): Task {
    const chunks = bytes < 0 ? 1 : this.#chunks(bytes, bytes * operationsPerByte);
    return {
      kind,
      extent: Math.abs(bytes),
      chunks,
      args,
      submission: number,
      kernel: noKernel,
      part: 0,
      code: 0,
      codeBytes: 0,
    };
  }

  #chunks(extent: number, work: number): number {
    return Math.max(1, Math.min(extent, this.#threads * chunksPerThread, Math.floor(work / this.#grain), maxChunks));
  }

  /** Where workers find a kernel's code: in the memory that they share. */
  #place(code: Uint8Array<ArrayBuffer>): number {
    const at = this.#take(code.length, "host");
    this.#arena.bytes().set(code, at);
    return at;
  }

  /** Passes the fences of what workers have done. */
  #settle(): void {
    const done: Flight[] = [];
    for (
      let [next] = this.#flights;
      next?.last !== undefined && this.#tasks?.isDone(next.last);
      [next] = this.#flights
    ) {
      this.#flights.shift();
      const failed = this.#tasks.failureOf(next.number);
      if (failed) {
        const name = next.names.get(failed.kernel);
        const what = name === undefined ? "a copy or fill failed" : `kernel ${name} trapped`;
        next.failure ??= new KernelError(`cpu: ${what}: ${failed.message}`);
      }
      next.failure = failureOf(next.submission) ?? next.failure;
      // What is done must not hold what was done before it.
      next.submission.after.length = 0;
      this.#numbers.push(next.number);
      done.push(next);
    }
    if (done.length === 0) return;
    const kept = this.#returned.filter(({ until }) => !done.includes(until));
    for (const { offset, until } of this.#returned) if (done.includes(until)) this.#arena.give(offset);
    this.#returned = kept;
    if (this.#flights.length === 0) this.#crew?.hold(false);
    for (const { submission, failure } of done) this.#fences.signal(submission.signal, failure);
  }

  #lostWorker(cause: unknown, isNew: boolean): void {
    if (this.#closed) return;
    this.#workers--;
    if (!isNew || (this.#workers === 0 && this.#begun)) {
      const reason = `cpu: a worker was lost: ${messageOf(cause)}`;
      this.#shut(new DeviceLostError(reason, { cause }));
      this.#lose({ reason });
      return;
    }
    if (this.#workers > 0) return;
    // None ever began, so none has touched what they were given.
    this.#threads = 1;
    this.#crew = undefined;
    this.#tasks = undefined;
    const flights = this.#flights.splice(0);
    for (const flight of flights) {
      this.#runHere(flight.submission);
      try {
        this.#fences.poll(flight.submission.signal);
      } catch (error) {
        flight.failure = asError(error);
      }
    }
    for (const { offset } of this.#returned.splice(0)) this.#arena.give(offset);
    this.#drain();
  }

  #execute(command: Command): void {
    switch (command.kind) {
      case "launch":
        return this.#launch(command.executable, command.regions, command.scalars);
      case "copy": {
        const [to, from] = this.#copyOf(command.from, command.to);
        this.#arena.bytes().copyWithin(to, from, from + command.from.bytes);
        return;
      }
      case "fill": {
        const start = this.#address(command.to);
        this.#arena.bytes().fill(command.byte, start, start + command.to.bytes);
        return;
      }
      case "engineRun":
      case "collective":
        throw new DeviceError(`cpu: it has no command ${command.kind}`);
      default:
        command satisfies never;
    }
  }

  #launch(executable: Executable, regions: readonly Region[], scalars: readonly number[]): void {
    const { executable: own, args } = this.#launchOf(executable, regions, scalars);
    try {
      own.kernel.run(...args);
    } catch (cause) {
      throw new KernelError(`cpu: kernel ${own.name} trapped: ${messageOf(cause)}`, { cause });
    }
  }

  /** A launch with its kernel's arguments. */
  #launchOf(executable: Executable, regions: readonly Region[], scalars: readonly number[]) {
    if (!(executable instanceof CpuExecutable))
      throw new DeviceError(`cpu: kernel ${executable.name} was loaded by another device`);
    const { name, arity } = executable;
    if (regions.length + scalars.length !== arity)
      throw new DeviceError(
        `cpu: kernel ${name} takes ${arity} regions and scalars, got ${regions.length} and ${scalars.length}`,
      );
    const args: number[] = [];
    for (const region of regions) args.push(this.#address(region));
    for (const scalar of scalars) args.push(scalar);
    return { executable, args };
  }

  #copyOf(from: Region, to: Region): readonly [number, number] {
    if (from.bytes !== to.bytes) throw new DeviceError(`cpu: a copy of ${from.bytes} bytes into ${to.bytes}`);
    return [this.#address(to), this.#address(from)];
  }

  #address({ memory, offset, bytes }: Region): number {
    const own = this.#own(memory);
    if (offset < 0 || bytes < 0 || offset + bytes > own.bytes)
      throw new DeviceError(`cpu: bytes ${offset} to ${offset + bytes} lie outside of a memory of ${own.bytes}`);
    return own.offset + offset;
  }

  #own(memory: Memory): CpuMemory {
    if (memory instanceof CpuMemory && memory.arena === this.#arena) return memory;
    throw new DeviceError("cpu: a memory of another device was used here");
  }

  #open(): void {
    if (this.#closed) throw new DeviceError("cpu: the device is closed");
  }

  wait(fence: Fence, timeoutMs?: number): Promise<void> {
    return this.#fences.wait(fence, timeoutMs);
  }

  poll(fence: Fence): bigint {
    if (this.#flights.length > 0) this.#settle();
    return this.#fences.poll(fence);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    const crew = this.#crew;
    this.#shut(new DeviceLostError("cpu: the device was closed before this work ran"));
    await crew?.close();
  }

  #shut(error: DeviceLostError): void {
    this.#settle();
    this.#closed = true;
    this.#queues.compute.length = 0;
    this.#queues.copy.length = 0;
    if (this.#flights.splice(0).length > 0) this.#crew?.hold(false);
    this.#fences.lose(error);
    this.#modules.clear();
    this.#crew = undefined;
  }
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new DeviceError(`cpu: ${String(error)}`));

/** Why a submission must not count as done, of what it waited for. */
const failureOf = ({ failure, after }: Submission): Error | undefined =>
  failure ?? after.find((flight) => flight.failure)?.failure;

/** What the code generator wrote about a module's parts; code without that is one part of its own. */
function partsOf(module: WebAssembly.Module): readonly Part[] {
  const [section] = WebAssembly.Module.customSections(module, partsSection);
  if (!section) return [{ extent: 1, work: 0 }];
  const parts = JSON.parse(new TextDecoder().decode(section)) as readonly (readonly [number, number])[];
  return parts.map(([extent, work]) => ({ extent, work }));
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

/** FNV-1a, 32 bits. */
function hashBytes(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

const equal = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);

/** Opens the device. */
export const openCpu = (hardware: HardwareModel, options: CpuOptions): Device => new CpuDevice(hardware, options);

const regionsOf = (command: Command): readonly Region[] => {
  if (command.kind === "copy") return [command.from, command.to];
  return command.kind === "fill" ? [command.to] : command.regions;
};
