/** The CPU as a device: buffers in one WebAssembly memory, kernels as WebAssembly modules, work run on the calling thread as
 *  soon as what it waits for is done. */

import { ArgumentError, DeviceError, DeviceLostError, KernelError } from "sinan/south";
import { type Artifact, type Command, type Device, erf, type Executable, type Fence, type HardwareModel, type Loss, type Memory, type MemorySpace, type Queue, type Region } from "sinan/south";
import { type Arena, newArena } from "./arena.ts";
import { Timelines } from "./timeline.ts";
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
  readonly wait: readonly Fence[];
  readonly signal: Fence;
}

/** C's rules rather than JavaScript's: 1 to any power is 1, and so is −1 to an infinite one. */
const pow = (a: number, b: number): number => (a === 1 || (a === -1 && Math.abs(b) === Number.POSITIVE_INFINITY) ? 1 : a ** b);

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
  readonly #timelines = new Timelines();
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
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw new ArgumentError(`cpu: alloc takes a number of bytes, got ${bytes}`);
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
      throw new DeviceError(`cpu: kernel ${name} is ${typeof code === "string" ? "text" : "code"} of ${codegen}; the device takes the bytes of ${codegenName}`);
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
      return exports.run as Run;
    } catch (cause) {
      throw new DeviceError(`cpu: kernel ${name} is refused: ${messageOf(cause)}`, { cause });
    }
  }

  submit(queue: Queue, commands: readonly Command[], wait: readonly Fence[], signal: Fence): void {
    this.#open();
    const submission = { commands, wait, signal };
    const pending = this.#queues[queue];
    if (pending.length === 0 && !this.#draining && wait.every((f) => this.#timelines.passed(f))) {
      this.#run(submission);
      if (this.#queues.compute.length + this.#queues.copy.length > 0) this.#drain();
      return;
    }
    pending.push(submission);
  }

  /** Runs what no longer waits, in the order of each queue. */
  #drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    for (let ran = true; ran; ) {
      ran = false;
      for (const pending of Object.values(this.#queues)) {
        for (let next = pending[0]; next?.wait.every((f) => this.#timelines.passed(f)); next = pending[0]) {
          pending.shift();
          this.#run(next);
          ran = true;
        }
      }
    }
    this.#draining = false;
  }

  #run({ commands, wait, signal }: Submission): void {
    let failure: { readonly error: unknown } | undefined;
    for (const f of wait) failure ??= this.#timelines.failure(f);
    if (!failure) {
      try {
        for (const command of commands) this.#execute(command);
      } catch (error) {
        failure = { error };
      }
    }
    this.#timelines.signal(signal, failure);
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
    if (!(executable instanceof CpuExecutable)) throw new DeviceError(`cpu: kernel ${executable.name} was loaded by another device`);
    const { name, arity, run } = executable;
    if (regions.length + scalars.length !== arity)
      throw new DeviceError(`cpu: kernel ${name} takes ${arity} regions and scalars, got ${regions.length} and ${scalars.length}`);
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

  async wait(fence: Fence, timeoutMs?: number): Promise<void> {
    if (!this.#timelines.passed(fence)) await this.#pass(fence, timeoutMs);
    const failure = this.#timelines.failure(fence);
    if (failure) throw failure.error;
  }

  #pass(fence: Fence, timeoutMs: number | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      let timer: unknown;
      const forget = this.#timelines.onPass(fence, () => {
        clearTimeout(timer as Parameters<typeof clearTimeout>[0]);
        resolve();
      });
      if (timeoutMs === undefined) return;
      timer = setTimeout(() => {
        forget();
        const { timeline, value } = fence;
        reject(new DeviceError(`cpu: timeline ${timeline} has not reached ${value} within ${timeoutMs} ms; it is at ${this.#timelines.value(timeline)}`));
      }, timeoutMs);
    });
  }

  poll(fence: Fence): bigint {
    const failure = this.#timelines.passed(fence) ? this.#timelines.failure(fence) : undefined;
    if (failure) throw failure.error;
    return this.#timelines.value(fence.timeline);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const error = new DeviceLostError("cpu: the device was closed before this work ran");
    for (const pending of Object.values(this.#queues)) {
      for (const { signal } of pending.splice(0)) this.#timelines.signal(signal, { error });
    }
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
