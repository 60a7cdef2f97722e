/** What a device is asked to do, as it waits; and what a device that shares its loops knows of its workers. */

import { type Command, DeviceError, type Fence, type Region, type Span } from "sinan/south";
import type { Arenas, CpuMemory } from "./arenas.ts";
import type { Kernels } from "./kernels.ts";

export interface Submission {
  commands: readonly Command[];
  readonly signal: Fence;
  /** Fences that have not passed yet. */
  waiting: number;
  /** What workers run before it, that it depends on. */
  readonly after: Passage[];
  /** Why one of those that passed did so by failing. */
  failure: Error | undefined;
}

/** A submission that workers have. */
export interface Passage {
  failure: Error | undefined;
}

/** Why a submission must not count as done, of what it waited for. */
export const failureOf = ({ failure, after }: Submission): Error | undefined =>
  failure ?? after.find((flight) => flight.failure)?.failure;

export const asError = (error: unknown): Error =>
  error instanceof Error ? error : new DeviceError(`cpu: ${String(error)}`);

/** Operations in the time that moves a byte. */
export const operationsPerByte = 4;
/** The memories of a copy, its target first.
 *  @throws DeviceError if they are not the device's, or not of one length */
export function copied(arenas: Arenas, from: Region, to: Region): readonly [CpuMemory, CpuMemory] {
  if (from.bytes !== to.bytes) throw new DeviceError(`cpu: a copy of ${from.bytes} bytes into ${to.bytes}`);
  return [arenas.at(to), arenas.at(from)];
}

/** What the device does at the workers' events. */
export interface Ground {
  /** Passes a fence, or fails it. */
  signal(fence: Fence, failure: Error | undefined): void;
  /** Runs what waited. */
  drain(): void;
  /** Runs what no worker will, as none could begin. */
  runHere(submission: Submission): void;
  /** What a fence failed with. */
  failure(fence: Fence): Error | undefined;
  lost(reason: string, cause: unknown): void;
}

export interface WorkerOptions {
  readonly threads: number;
  /** About how many operations are worth a thread's while. */
  readonly grain: number;
  /** Where the program of a Web Worker is, if it has a place of its own. */
  readonly worker?: string | undefined;
}

/** The workers of a device, which take submissions in order. */
export interface Workers {
  readonly isEmpty: boolean;
  /** What has the submission whose end a fence is. */
  of(fence: Fence): Passage | undefined;
  /** Gives memory back at once, or when what the workers have so far is done. */
  giveBack(memory: CpuMemory): void;
  /** Gives back at once what workers may still use; `false` if there is nothing. */
  reclaim(): boolean;
  arenasAdded(): void;
  /** Whether there are workers, which begin at the first work for them, and a submission is large enough to be theirs. */
  wants(submission: Submission): boolean;
  /** Gives the workers a submission; `false` where they cannot take it yet. */
  fly(submission: Submission): boolean;
  /** Passes the fences of what workers have done. */
  settle(): void;
  /** The same, and gives them what they now have room for. */
  progress(): void;
  trace(listener: ((span: Span) => void) | null): void;
  close(): Promise<void>;
}

export type WorkersOf = (arenas: Arenas, kernels: Kernels, options: WorkerOptions, ground: Ground) => Workers;
