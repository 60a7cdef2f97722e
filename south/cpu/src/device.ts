/** The CPU as a device: buffers in WebAssembly memories, kernels as WebAssembly modules, work run as soon as what it waits for
 *  is done: small work on the calling thread, large work by workers, which share the loops. */

import { ArgumentError, DeviceError, DeviceLostError, KernelError, OutOfMemoryError } from "sinan/south";
import {
  type Artifact,
  type Building,
  type Command,
  type Commander,
  type Device,
  type Executable,
  type Fence,
  Fences,
  type HardwareModel,
  type Launch as ProgramLaunch,
  type Loss,
  type Memory,
  type MemorySpace,
  type Queue,
  type Region,
  type Span,
} from "sinan/south";
import { newMemory } from "./arena.ts";
import { Arenas, CpuMemory, give } from "./arenas.ts";
import type { Gather } from "./gather.ts";
import { type Across, Kernels, type Launch, messageOf } from "./kernels.ts";
import {
  asError,
  copied,
  failureOf,
  type Ground,
  type Submission,
  type Workers,
  type WorkersOf,
} from "./submission.ts";

export interface CpuOptions {
  /** Whether other threads can be given the memory: what `hardware.features` says. */
  readonly shared: boolean;
  /** Threads that share the loops of large kernels. With one, all work runs on the calling thread. */
  readonly threads: number;
  /** About how many operations are worth a thread's while: less is not shared. */
  readonly grain: number;
  /** Where the program of a Web Worker is, if it has a place of its own. */
  readonly worker?: string | undefined;
  /** The most bytes of one of its memories. */
  readonly arenaBytes: number;
  /** The only tier that it is to have, or "auto". */
  readonly tier: string;
}

/** What a device is made with to be more than one thread with one memory. */
export interface DeviceParts {
  /** Makes the workers that share the loops of large kernels. */
  readonly workersOf: WorkersOf;
  readonly newSharedMemory: (most: number) => WebAssembly.Memory;
  /** Let a launch reach regions in several memories: with a module for those, or by copies into one. */
  readonly across: Across;
  readonly gather: Gather;
  /** Runs a kernel that was never run on this thread. */
  readonly runFirst: (launch: Launch) => void;
  /** How the device changes its tier. */
  readonly changes: (ground: TierGround) => Device["changeTier"];
}

/** What tiers are made on. */
export interface TierGround {
  /** That of the WebAssembly tier. */
  readonly hardware: HardwareModel;
  readonly arenas: Arenas;
  readonly options: CpuOptions;
  /** Those of the WebAssembly tier, which still serve its programs. */
  readonly workers: Workers;
  readonly ground: Ground;
  /** Makes the device one of a tier; undefined is that of WebAssembly. The first one stays, whatever the device is. */
  readonly use: (tier: Tier | undefined) => void;
}

/** Another way to make kernels and run them, over the same memory. */
export interface Tier {
  readonly hardware: HardwareModel;
  /** Those of both tiers. */
  readonly workers: Workers;
  readonly codegen: string;
  /** Who is told of what is built. */
  tell: ((building: Building) => void) | undefined;
  load(artifact: Artifact): Promise<Executable>;
  /** Whether it made these commands itself, of memory that is there. */
  hasMade(commands: readonly Command[]): boolean;
  readonly commander: NonNullable<Device["commander"]>;
}

class CpuDevice implements Device {
  hardware: HardwareModel;
  readonly lost: Promise<Loss>;
  #lose: (loss: Loss) => void = () => {};
  readonly #arenas: Arenas;
  readonly #kernels: Kernels;
  #workers: Workers | undefined;
  #tier: Tier | undefined;
  readonly changeTier: Device["changeTier"];
  readonly #gather: Gather | undefined;
  readonly #runFirst: DeviceParts["runFirst"] | undefined;
  /** Memory given back while submissions that may use it have not begun. */
  readonly #deferred: CpuMemory[] = [];
  readonly #fences = new Fences();
  readonly #queues: Record<Queue, Submission[]> = { compute: [], copy: [] };
  #draining = false;
  #closed = false;

  constructor(hardware: HardwareModel, options: CpuOptions, parts: DeviceParts | undefined) {
    const { shared, threads, grain, worker, arenaBytes } = options;
    this.hardware = hardware;
    const mostBytes = parts ? hardware.limits.maxBytes : 0;
    const memories = shared && parts ? parts.newSharedMemory : newMemory;
    this.#arenas = new Arenas({ newMemory: memories, arenaBytes, mostBytes }, () => this.#workers?.arenasAdded());
    this.#kernels = new Kernels(this.#arenas, parts?.across);
    this.#gather = parts?.gather;
    this.#runFirst = parts?.runFirst;
    const ground: Ground = {
      signal: (fence, failure) => this.#fences.signal(fence, failure),
      drain: () => this.#drain(),
      runHere: (submission) => this.#runHere(submission),
      failure: (fence) => this.#failureAt(fence),
      lost: (reason, cause) => {
        void this.#shut(new DeviceLostError(reason, { cause }));
        this.#lose({ reason });
      },
    };
    const shares = { threads: shared ? threads : 1, grain, worker };
    const workers = parts?.workersOf(this.#arenas, this.#kernels, shares, ground);
    this.#workers = workers;
    const use = (tier: Tier | undefined): void => {
      this.hardware = tier?.hardware ?? hardware;
      if (!tier || this.#tier) return;
      this.#tier = tier;
      this.#workers = tier.workers;
      tier.workers.trace(this.#listener);
    };
    this.changeTier =
      parts && workers && parts.changes({ hardware, arenas: this.#arenas, options, workers, ground, use });
    this.lost = new Promise((resolve) => {
      this.#lose = resolve;
    });
  }

  alloc(bytes: number, space: MemorySpace): Memory {
    this.#open();
    if (!Number.isSafeInteger(bytes) || bytes < 0)
      throw new ArgumentError(`cpu: alloc takes a number of bytes, got ${bytes}`);
    try {
      return this.#arenas.take(bytes, space);
    } catch (cause) {
      // Work runs in order, so memory that only work will write need not wait for what used it before.
      if (!(cause instanceof OutOfMemoryError) || space === "host" || !this.#workers?.reclaim()) throw cause;
      return this.#arenas.take(bytes, space);
    }
  }

  free(memory: Memory): void {
    const own = this.#arenas.own(memory);
    if (this.#closed) return;
    if (own.freed) throw new ArgumentError("cpu: a memory was freed twice");
    own.freed = true;
    this.#release(own);
  }

  /** Gives memory back when all that was submitted so far is done. */
  #release(memory: CpuMemory): void {
    if (this.#isQueued()) this.#deferred.push(memory);
    else this.#giveBack(memory);
  }

  #giveBack(memory: CpuMemory): void {
    if (this.#workers) this.#workers.giveBack(memory);
    else give(memory);
  }

  /** Whether submissions wait that have not begun. */
  #isQueued(): boolean {
    return this.#queues.compute.length + this.#queues.copy.length > 0;
  }

  async load(artifact: Artifact): Promise<Executable> {
    this.#open();
    return artifact.codegen === this.#tier?.codegen ? this.#tier.load(artifact) : this.#kernels.load(artifact);
  }

  commander(launches: readonly ProgramLaunch[], executables: readonly Executable[]): Commander | undefined {
    return this.#tier?.commander(launches, executables);
  }

  submit(queue: Queue, commands: readonly Command[], wait: readonly Fence[], signal: Fence): void {
    this.#open();
    // Memory that is freed from here on still serves what was submitted.
    const failure =
      !this.#tier?.hasMade(commands) && commands.some((c) => regionsOf(c).some(isFreed))
        ? new DeviceError("cpu: a command uses memory that was freed")
        : undefined;
    const submission: Submission = { commands, signal, waiting: wait.length, after: [], failure };
    const temporary = this.#gather?.(this.#arenas, submission) ?? [];
    this.#queues[queue].push(submission);
    for (const fence of wait) {
      // Workers keep the order by themselves.
      const flight = this.#workers?.of(fence);
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
    for (const memory of temporary) this.#release(memory);
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
    if (!this.#isQueued()) for (const memory of this.#deferred.splice(0)) this.#giveBack(memory);
  }

  /** Runs it here, or gives it to the workers; `false` where neither can be done yet. */
  #run(submission: Submission): boolean {
    const workers = this.#workers;
    if (workers) {
      if (!workers.isEmpty) workers.settle();
      if (!workers.isEmpty || workers.wants(submission)) return workers.fly(submission);
    }
    this.#runHere(submission);
    return true;
  }

  #runHere(submission: Submission): void {
    const { commands, signal } = submission;
    const failure = failureOf(submission);
    if (failure) return this.#fences.signal(signal, failure);
    try {
      for (const command of commands) {
        if (this.#listener) this.#time(command, this.#listener);
        else this.#execute(command);
      }
    } catch (error) {
      return this.#fences.signal(signal, asError(error));
    }
    this.#fences.signal(signal);
  }

  #listener: ((span: Span) => void) | null = null;
  /** Launches on this thread are counted down, those of workers up. */
  #launches = 0;

  trace(listener: ((span: Span) => void) | null): void {
    this.#listener = listener;
    this.#workers?.trace(listener);
  }

  #time(command: Command, listener: (span: Span) => void): void {
    const now = (): number => performance.timeOrigin + performance.now();
    const executable = command.kind === "launch" ? command.executable : undefined;
    const begin = now();
    this.#execute(command);
    listener({ executable, thread: 0, launch: --this.#launches, begin, end: now() });
  }

  #failureAt(fence: Fence): Error | undefined {
    try {
      this.#fences.poll(fence);
    } catch (error) {
      return asError(error);
    }
    return undefined;
  }

  #execute(command: Command): void {
    switch (command.kind) {
      case "launch":
        return this.#launch(command.executable, command.regions, command.scalars);
      case "copy": {
        const [to, from] = copied(this.#arenas, command.from, command.to);
        const { bytes } = command.to;
        const start = from.offset + command.from.offset;
        to.arena.bytes().set(from.arena.bytes().subarray(start, start + bytes), to.offset + command.to.offset);
        return;
      }
      case "fill": {
        const to = this.#arenas.at(command.to);
        const start = to.offset + command.to.offset;
        to.arena.bytes().fill(command.byte, start, start + command.to.bytes);
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
    const launch = this.#kernels.launch(executable, regions, scalars);
    const { instance, args } = launch;
    const isFirst = instance.isNew;
    instance.isNew = false;
    try {
      if (isFirst && this.#runFirst) this.#runFirst(launch);
      else instance.run(...args);
    } catch (cause) {
      throw new KernelError(`cpu: kernel ${executable.name} trapped: ${messageOf(cause)}`, { cause });
    }
  }

  #open(): void {
    if (this.#closed) throw new DeviceError("cpu: the device is closed");
  }

  wait(fence: Fence, timeoutMs?: number): Promise<void> {
    return this.#fences.wait(fence, timeoutMs);
  }

  poll(fence: Fence): bigint {
    // Who asks again and again gives the thread no turn in which workers could tell that they have room for more.
    if (this.#workers?.isEmpty === false) this.#workers.progress();
    return this.#fences.poll(fence);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    await this.#shut(new DeviceLostError("cpu: the device was closed before this work ran"));
  }

  #shut(error: DeviceLostError): Promise<void> | undefined {
    const ended = this.#workers?.close();
    this.#closed = true;
    this.#queues.compute.length = 0;
    this.#queues.copy.length = 0;
    this.#fences.lose(error);
    return ended;
  }
}

/** Opens the device: without parts, one thread with one memory. */
export const openCpu = (hardware: HardwareModel, options: CpuOptions, parts?: DeviceParts): Device =>
  new CpuDevice(hardware, options, parts);

const isFreed = ({ memory }: Region): boolean => memory instanceof CpuMemory && memory.freed;

const regionsOf = (command: Command): readonly Region[] => {
  if (command.kind === "copy") return [command.from, command.to];
  return command.kind === "fill" ? [command.to] : command.regions;
};
