/** The CPU as a device: buffers in one WebAssembly memory, kernels as WebAssembly modules, work run on the calling thread as
 *  soon as what it waits for is done. */

import { ArgumentError, DeviceError, DeviceLostError, KernelError } from "sinan/south";
import {
  type Artifact,
  type Command,
  type Device,
  erf,
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
import { codegenName } from "./wasm/render.ts";

type Run = (...args: readonly number[]) => void;

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

class CpuExecutable implements Executable {
  readonly name: string;
  readonly run: Run;
  /** How many regions and scalars it takes. */
  readonly arity: number;

  constructor(name: string, run: Run) {
    this.name = name;
    this.run = run;
    this.arity = run.length;
  }
}

interface Submission {
  readonly commands: readonly Command[];
  readonly signal: Fence;
  /** Fences that have not passed yet. */
  waiting: number;
  /** Why one of those that passed did so by failing. */
  failure: Error | undefined;
}

/** C's rules rather than JavaScript's: 1 to any power is 1, and so is −1 to an infinite one. */
const pow = (a: number, b: number): number =>
  a === 1 || (a === -1 && Math.abs(b) === Number.POSITIVE_INFINITY) ? 1 : a ** b;

/** The remainder with the divisor's sign. */
function fmod(a: number, b: number): number {
  const rest = a % b;
  return rest !== 0 && rest < 0 !== b < 0 ? rest + b : rest;
}

/** What kernels may call. */
const math = { exp: Math.exp, log: Math.log, sin: Math.sin, cos: Math.cos, tanh: Math.tanh, erf, pow, fmod };

class CpuDevice implements Device {
  readonly hardware: HardwareModel;
  readonly lost = new Promise<Loss>(() => {});
  readonly #arena: Arena;
  readonly #fences = new Fences();
  readonly #modules = new Map<number, { readonly code: Uint8Array; readonly run: Promise<Run> }[]>();
  readonly #queues: Record<Queue, Submission[]> = { compute: [], copy: [] };
  #draining = false;
  #closed = false;

  constructor(hardware: HardwareModel, shared: boolean) {
    this.hardware = hardware;
    this.#arena = newArena(shared);
  }

  alloc(bytes: number, space: MemorySpace): Memory {
    this.#open();
    if (!Number.isSafeInteger(bytes) || bytes < 0)
      throw new ArgumentError(`cpu: alloc takes a number of bytes, got ${bytes}`);
    return new CpuMemory(this.#arena, this.#arena.take(bytes), bytes, space);
  }

  free(memory: Memory): void {
    const own = this.#own(memory);
    if (this.#closed) return;
    this.#arena.give(own.offset);
    own.freed = true;
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

  #module(name: string, code: Uint8Array<ArrayBuffer>): Promise<Run> {
    const hash = hashBytes(code);
    const known = this.#modules.get(hash) ?? [];
    const same = known.find((m) => equal(m.code, code));
    if (same) return same.run;
    const run = this.#instantiate(name, code);
    this.#modules.set(hash, [...known, { code: code.slice(), run }]);
    return run;
  }

  async #instantiate(name: string, code: Uint8Array<ArrayBuffer>): Promise<Run> {
    try {
      const module = await WebAssembly.compile(code);
      const { exports } = await WebAssembly.instantiate(module, { env: { memory: this.#arena.memory }, math });
      if (typeof exports.run !== "function") throw new DeviceError("it exports no function `run`");
      return exports.run;
    } catch (cause) {
      throw new DeviceError(`cpu: kernel ${name} is refused: ${messageOf(cause)}`, { cause });
    }
  }

  submit(queue: Queue, commands: readonly Command[], wait: readonly Fence[], signal: Fence): void {
    this.#open();
    const submission: Submission = { commands, signal, waiting: wait.length, failure: undefined };
    this.#queues[queue].push(submission);
    for (const fence of wait) {
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
    for (let ran = true; ran; ) {
      ran = false;
      for (const queue of [this.#queues.compute, this.#queues.copy]) {
        for (let next = queue[0]; next?.waiting === 0; next = queue[0]) {
          queue.shift();
          this.#run(next);
          ran = true;
        }
      }
    }
    this.#draining = false;
  }

  #run({ commands, signal, failure }: Submission): void {
    if (failure) return this.#fences.signal(signal, failure);
    try {
      for (const command of commands) this.#execute(command);
    } catch (error) {
      return this.#fences.signal(signal, error instanceof Error ? error : new DeviceError(`cpu: ${String(error)}`));
    }
    this.#fences.signal(signal);
  }

  #execute(command: Command): void {
    switch (command.kind) {
      case "launch":
        return this.#launch(command.executable, command.regions, command.scalars);
      case "copy": {
        const { from, to } = command;
        if (from.bytes !== to.bytes) throw new DeviceError(`cpu: a copy of ${from.bytes} bytes into ${to.bytes}`);
        const start = this.#address(from);
        this.#arena.bytes().copyWithin(this.#address(to), start, start + from.bytes);
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
    if (!(executable instanceof CpuExecutable))
      throw new DeviceError(`cpu: kernel ${executable.name} was loaded by another device`);
    const { name, arity, run } = executable;
    if (regions.length + scalars.length !== arity)
      throw new DeviceError(
        `cpu: kernel ${name} takes ${arity} regions and scalars, got ${regions.length} and ${scalars.length}`,
      );
    const args = [];
    for (const region of regions) args.push(this.#address(region));
    for (const scalar of scalars) args.push(scalar);
    try {
      run(...args);
    } catch (cause) {
      throw new KernelError(`cpu: kernel ${name} trapped: ${messageOf(cause)}`, { cause });
    }
  }

  #address({ memory, offset, bytes }: Region): number {
    const own = this.#own(memory);
    if (own.freed) throw new DeviceError("cpu: a command uses memory that was freed");
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
    return this.#fences.poll(fence);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#queues.compute.length = 0;
    this.#queues.copy.length = 0;
    this.#fences.lose(new DeviceLostError("cpu: the device was closed before this work ran"));
    this.#modules.clear();
  }
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

/** FNV-1a, 32 bits. */
function hashBytes(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

const equal = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i]);

/** Opens the device. `shared` must be what `hardware.features` says. */
export const openCpu = (hardware: HardwareModel, shared: boolean): Device => new CpuDevice(hardware, shared);
