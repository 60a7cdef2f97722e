/** A device that is everything the fast one is not: memory of its own, completion in a later macrotask, two queues that get
 *  ahead of each other by chance, and failures on order. Kernels are run by the interpreter. */
import {
  type Artifact,
  byteSize,
  type Command,
  decode,
  type Device,
  DeviceError,
  DeviceLostError,
  encode,
  type Executable,
  type Fence,
  Fences,
  type Group,
  type HardwareModel,
  KernelError,
  knownSizes,
  launchGroup,
  loadGroup,
  type Loss,
  type Memory,
  type MemorySpace,
  OutOfMemoryError,
  type Queue,
  type Region,
} from "sinan/south";
import { bytesOf, checkRegion, freeMemory, newMemory, overlap } from "./memory.ts";
import type { Settings } from "./options.ts";

interface Submission {
  readonly commands: readonly Command[];
  readonly signal: Fence;
  next: number;
  /** Fences that have not passed yet. */
  waits: number;
  /** What failed before it, or in it. */
  poison: Error | undefined;
}

export class SimDevice implements Device {
  readonly hardware: HardwareModel;
  readonly lost: Promise<Loss>;
  readonly #settings: Settings;
  readonly #fences = new Fences();
  readonly #groups = new WeakMap<Executable, Group>();
  readonly #queues: Readonly<Record<Queue, Submission[]>> = { compute: [], copy: [] };
  readonly #idle: (() => void)[] = [];
  #lose: (loss: Loss) => void = () => {};
  #gone: DeviceLostError | undefined;
  #random: number;
  #turn = false;
  #bytes = 0;
  #commands = 0;
  #launches = 0;

  constructor(hardware: HardwareModel, settings: Settings) {
    this.hardware = hardware;
    this.#settings = settings;
    this.#random = settings.seed >>> 0;
    this.lost = new Promise((resolve) => {
      this.#lose = resolve;
    });
  }

  alloc(bytes: number, space: MemorySpace): Memory {
    if (this.#gone) throw this.#gone;
    const { memoryBytes } = this.#settings;
    if (space === "device" && this.#bytes + bytes > memoryBytes)
      throw new OutOfMemoryError(
        `sim: ${bytes} bytes more than the ${this.#bytes} in use would exceed the ${memoryBytes} there are`,
      );
    if (space === "device") this.#bytes += bytes;
    return newMemory(bytes, space, this);
  }

  free(memory: Memory): void {
    freeMemory(memory, this);
    if (memory.space === "device") this.#bytes -= memory.bytes;
  }

  async load(artifact: Artifact): Promise<Executable> {
    if (this.#gone) throw this.#gone;
    const executable: Executable = { name: artifact.name };
    this.#groups.set(executable, loadGroup(artifact));
    return executable;
  }

  submit(queue: Queue, commands: readonly Command[], wait: readonly Fence[], signal: Fence): void {
    const line = this.#queues[queue];
    const own: Submission = {
      commands,
      signal,
      next: 0,
      waits: wait.length,
      poison: this.#gone ?? this.#fault(commands),
    };
    line.push(own);
    for (const fence of wait)
      this.#fences.after(fence, (failure) => {
        own.poison ??= failure;
        own.waits--;
        this.#wake();
      });
    this.#wake();
  }

  wait(fence: Fence, timeoutMs?: number): Promise<void> {
    return this.#fences.wait(fence, timeoutMs);
  }

  poll(fence: Fence): bigint {
    return this.#fences.poll(fence);
  }

  /** Finishes what can be finished. */
  async close(): Promise<void> {
    if (this.#turn) await new Promise<void>((resume) => this.#idle.push(resume));
    this.#gone ??= new DeviceLostError("sim: the device is closed");
    this.#fences.lose(this.#gone);
  }

  /** What is wrong with the commands as they are submitted. */
  #fault(commands: readonly Command[]): Error | undefined {
    try {
      for (const c of commands) {
        const regions = c.kind === "copy" ? [c.from, c.to] : c.kind === "fill" ? [c.to] : c.regions;
        for (const r of regions) checkRegion(r, this);
        if (c.kind === "copy" && c.from.bytes !== c.to.bytes)
          throw new DeviceError(`a copy of ${c.from.bytes} bytes into ${c.to.bytes}`);
      }
      return undefined;
    } catch (cause) {
      return cause as Error;
    }
  }

  #wake(): void {
    if (this.#turn) return;
    this.#turn = true;
    setTimeout(() => this.#run(), this.#settings.latencyMs);
  }

  /** One turn: a few commands, each of a queue chosen by chance among those that wait for nothing. */
  #run(): void {
    for (let left = 1 + this.#below(16); left > 0; left--) {
      const ready = Object.values(this.#queues).filter(([first]) => first?.waits === 0);
      const line = ready[this.#below(ready.length)];
      const submission = line?.[0];
      if (!submission) break;
      this.#step(submission);
      if (submission.poison || submission.next >= submission.commands.length) {
        line.shift();
        this.#fences.signal(submission.signal, submission.poison);
      }
    }
    this.#turn = false;
    if (Object.values(this.#queues).some((line) => line[0]?.waits === 0)) this.#wake();
    else for (const resume of this.#idle.splice(0)) resume();
  }

  #below(n: number): number {
    this.#random = (Math.imul(this.#random, 1664525) + 1013904223) >>> 0;
    return n > 1 ? Math.floor((this.#random / 2 ** 32) * n) : 0;
  }

  #step(submission: Submission): void {
    const command = submission.commands[submission.next];
    submission.next++;
    submission.poison ??= this.#gone;
    if (submission.poison || !command) return;
    if (this.#commands++ >= this.#settings.loseAfter) {
      const reason = `sim: lost after ${this.#settings.loseAfter} commands, as it was told`;
      this.#gone = new DeviceLostError(reason);
      submission.poison = this.#gone;
      this.#lose({ reason });
      this.#fences.lose(this.#gone);
      return;
    }
    try {
      this.#execute(command);
    } catch (cause) {
      submission.poison = cause as Error;
    }
  }

  #execute(command: Command): void {
    switch (command.kind) {
      case "launch":
        return this.#launch(command.executable, command.regions, command.scalars);
      case "copy":
        bytesOf(command.to).set(bytesOf(command.from));
        return;
      case "fill":
        bytesOf(command.to).fill(command.byte);
        return;
      case "engineRun":
      case "collective":
        throw new DeviceError(`sim has no ${command.kind}`);
      default:
        command satisfies never;
    }
  }

  #launch(executable: Executable, regions: readonly Region[], scalars: readonly number[]): void {
    if (++this.#launches === this.#settings.failLaunch)
      throw new KernelError(`${executable.name}: launch ${this.#launches} failed, as sim was told`);
    const group = this.#groups.get(executable);
    if (!group) throw new DeviceError(`${executable.name} was loaded on another device`);
    const at = (i: number): Region => {
      const region = regions[i];
      if (!region) throw new DeviceError(`${executable.name}: there is no region ${i}`);
      return region;
    };
    const inputs = regions.length - group.fn.results.length;
    if (
      !this.#settings.aliasing &&
      regions.some((r, i) => regions.some((s, j) => i < j && j >= inputs && overlap(r, s)))
    )
      throw new DeviceError(`${executable.name}: an output lies on another region`, {
        hint: "hardware.limits.aliasing is false here",
      });
    launchGroup(
      group,
      {
        count: regions.length,
        read: (i, type, from) => decode(type.dtype, bytesOf(at(i)).subarray(from), knownSizes(type)),
        write: (i, value, from) => {
          const size = byteSize(value.dtype, value.data.length);
          if (from + size > at(i).bytes)
            throw new DeviceError(
              `${executable.name}: a result of ${size} bytes does not fit a region of ${at(i).bytes}`,
            );
          bytesOf(at(i)).set(encode(value), from);
        },
      },
      scalars,
      false,
    );
  }
}
