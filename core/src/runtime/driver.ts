/** What a chip's maker writes: a driver that finds devices and a device of nine methods; or an engine of two. Everything
 *  asynchronous is ordered by fences. Pool, memory plan, executor and profiler are common to all and live beside this file. */
import type { Json } from "../io/json.ts";
import type { Fn } from "../ir/fn.ts";
import type { Node } from "../ir/node.ts";
import type { HardwareModel } from "./hardware.ts";
import type { Launch } from "./program.ts";

export type { Launch };

/** A way to reach devices: says what there is, and opens it. */
export interface Driver {
  readonly name: string;
  /** The devices there are; empty where there is none. Opens nothing. */
  probe(): Promise<readonly HardwareModel[]>;
  /** @throws DeviceError if `id` is not one of the probed */
  open(id: string, options?: Json): Promise<Device>;
}

/** In which of a device's memories: its own, or one that JavaScript can see. */
export type MemorySpace = "device" | "host";

/** A block of a device's memory. */
export interface Memory {
  readonly bytes: number;
  readonly space: MemorySpace;
  /** The bytes themselves, of memory in `host` space or on a device whose `hardware.unified` is true. A view stays valid
   *  until the next allocation. Read it only after the fence of what writes it. */
  view?(): Uint8Array;
}

/** A part of a memory. */
export interface Region {
  readonly memory: Memory;
  /** Bytes from the memory's start; a multiple of `hardware.limits.alignment`. */
  readonly offset: number;
  readonly bytes: number;
}

/** A point on a device's timeline: it has passed when the timeline's value is at least `value`. */
export interface Fence {
  readonly timeline: number;
  readonly value: bigint;
}

/** Code in one of the forms that `hardware.codegens` names. */
export interface Artifact {
  readonly codegen: string;
  /** The kernel's name, in traces and errors. */
  readonly name: string;
  /** Bytes of machine code or a module; text of a source language. */
  readonly code: Uint8Array<ArrayBuffer> | string;
  /** Bytes of scratch memory that a launch takes as its last region; 0 for none. */
  readonly scratchBytes: number;
  /** The code for regions that code of the usual kind cannot reach at once, made when it is asked for: for each region the number
   *  of the address space that it lies in. For devices whose memory is several spaces. */
  readonly apart?: (spaces: readonly number[]) => Artifact["code"];
}

/** A kernel that a device can launch. */
export interface Executable {
  readonly name: string;
}

/** What a queue is asked to do. */
export type Command =
  /** Regions in the order of the kernel's buffer parameters (outputs last, scratch after them), and its scalars. */
  | {
      readonly kind: "launch";
      readonly executable: Executable;
      readonly regions: readonly Region[];
      readonly scalars: readonly number[];
    }
  | { readonly kind: "copy"; readonly from: Region; readonly to: Region }
  | { readonly kind: "fill"; readonly to: Region; readonly byte: number }
  | { readonly kind: "engineRun"; readonly executable: Executable; readonly regions: readonly Region[] }
  | { readonly kind: "collective"; readonly op: string; readonly regions: readonly Region[] };

/** Where the values of a call lie. */
export interface Places {
  /** Of an argument; or the number that it is. */
  readonly input: (index: number) => Region | number;
  readonly inputs: number;
  readonly outputs: readonly Region[];
  /** Of temporaries. */
  readonly blocks: readonly Memory[];
  /** Arguments that lie where they lay in every call that gave the same list. */
  readonly sure: { readonly from: number; readonly values: readonly unknown[] } | undefined;
}

/** Makes the commands of one call of a program; undefined where it leaves that to the caller. */
export type Commander = (places: Places) => readonly Command[] | undefined;

/** Why a device is no longer there. */
export interface Loss {
  readonly reason: string;
}

/** A stretch of work that a device did. */
export interface Span {
  /** Absent for a copy or fill. */
  readonly executable?: Executable | undefined;
  /** 0 is the thread that submits. */
  readonly thread: number;
  /** Which launch it is a part of: a number of its own for each. */
  readonly launch: number;
  /** Milliseconds since the epoch. */
  readonly begin: number;
  readonly end: number;
}

/** Independent lines of commands: those of one queue run in order, those of two only as fences say. */
export type Queue = "compute" | "copy";

/** What a device has of a tier that it was asked for. */
export interface TierChange {
  readonly tier: string;
  /** Why it is not the fastest, where that would be worth knowing. */
  readonly reason?: string;
}

/** How far the kernels are that a device builds: what is being built, so many units of so many. */
export interface Building {
  readonly what: string;
  readonly done: number;
  readonly of: number;
}

/** An open device: memory, queues, executables. */
export interface Device {
  readonly hardware: HardwareModel;
  /** Resolves when the device is lost; never rejects. */
  readonly lost: Promise<Loss>;
  /** Unspecified contents. @throws OutOfMemoryError */
  alloc(bytes: number, space: MemorySpace): Memory;
  free(memory: Memory): void;
  /** @throws DeviceError (as a rejection) for a codegen that is not the device's, or code that it refuses */
  load(artifact: Artifact): Promise<Executable>;
  /** Returns at once. The commands run in order after all fences of `wait`; then `signal` passes. A failure makes `wait` on
   *  the signal, and on every later fence that depends on it, reject. */
  submit(queue: Queue, commands: readonly Command[], wait: readonly Fence[], signal: Fence): void;
  /** @throws (as a rejection) KernelError, DeviceLostError, OutOfMemoryError of the work behind the fence; DeviceError on time-out */
  wait(fence: Fence, timeoutMs?: number): Promise<void>;
  /** The value that the fence's timeline has reached. @throws what `wait` would reject with, if the work failed */
  poll(fence: Fence): bigint;
  /** Makes the commands of a program's calls, where the device has a faster way than to be told each anew. */
  commander?(launches: readonly Launch[], executables: readonly Executable[]): Commander | undefined;
  map?(memory: Memory, from: Device): Memory | null;
  capture?(commands: readonly Command[]): Executable;
  /** Makes kernels in another of its tiers from here on: `hardware` is then another one. "auto" is the fastest that the
   *  machine offers. @throws (as a rejection) DeviceError, if that tier was asked for by name and is not to be had */
  readonly changeTier?: ((tier: string, tell?: (building: Building) => void) => Promise<TierChange>) | undefined;
  /** Tells of all that runs from now on; null ends that. */
  trace?(listener: ((span: Span) => void) | null): void;
  close(): Promise<void>;
}

/** What the compiler may tell an engine. */
export interface Hints {
  readonly training: boolean;
}

/** A device that takes whole graphs instead of kernels. */
export interface GraphEngine {
  readonly name: string;
  readonly hardware: HardwareModel;
  capability(fn: Fn): readonly { readonly nodes: ReadonlySet<Node>; readonly reason?: string }[];
  compile(part: Fn, hints: Hints): Promise<Executable>;
}

/** Turns a function of one fusion group into an artifact. `loops`: it wants the loop level, scheduled; `graph`: the tensor level. */
export interface Codegen {
  readonly name: string;
  readonly level: "loops" | "graph";
  /** Marks which loop of each nest of a scheduled kernel may be run in parts: by threads, or one after another. What it expands of the
   *  transcendental ops is as it says. */
  readonly share?: (kernel: Fn, hardware: HardwareModel) => Fn;
  render(fn: Fn, hardware: HardwareModel): Artifact;
  /** Finds again what was made of an equal group, or makes it: for those that keep what they made beyond the process.
   *  @param tuning  what else it follows from: the hash of what the schedule is chosen by, which half it is of a product in two */
  readonly cached?: (group: Fn, hardware: HardwareModel, tuning: string | undefined, make: () => Artifact) => Artifact;
}
