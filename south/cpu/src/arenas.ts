/** The memory of the device: arenas of 32-bit addresses, the next one opened when those before it are full. */

import { ArgumentError, DeviceError, type Memory, type MemorySpace, OutOfMemoryError, type Region } from "sinan/south";
import { type Arena, maxPages, newArena, pageBytes } from "./arena.ts";

export class CpuMemory implements Memory {
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

export interface ArenaOptions {
  /** Makes a memory of up to so many pages. */
  readonly newMemory: (most: number) => WebAssembly.Memory;
  /** The most bytes of one arena. */
  readonly arenaBytes: number;
  /** The most bytes of all of them. */
  readonly mostBytes: number;
}

export class Arenas {
  readonly all: Arena[] = [];
  readonly #options: ArenaOptions;
  readonly #added: () => void;

  /** @param added  called when there is one more arena */
  constructor(options: ArenaOptions, added: () => void) {
    this.#options = options;
    this.#added = added;
    this.all.push(this.#new());
  }

  #new(): Arena {
    const { newMemory, arenaBytes } = this.#options;
    return newArena(newMemory(Math.min(maxPages, Math.ceil(arenaBytes / pageBytes))), this.all.length);
  }

  /** Memory where there is room for it: a place that is free, or else an arena that can grow, or else a new one.
   *  @throws OutOfMemoryError */
  take(bytes: number, space: MemorySpace): CpuMemory {
    for (const arena of this.all) {
      const offset = arena.takeFree(bytes);
      if (offset !== undefined) return new CpuMemory(arena, offset, bytes, space);
    }
    let refusal: unknown;
    for (const arena of this.all.toReversed()) {
      try {
        return this.takeIn(arena, bytes, space);
      } catch (cause) {
        if (!(cause instanceof OutOfMemoryError)) throw cause;
        refusal ??= cause;
      }
    }
    return this.takeIn(this.#another(bytes, refusal), bytes, space);
  }

  /** @throws OutOfMemoryError */
  takeIn(arena: Arena, bytes: number, space: MemorySpace): CpuMemory {
    return new CpuMemory(arena, arena.take(bytes), bytes, space);
  }

  /** One more arena, in which so many bytes fit. */
  #another(bytes: number, refusal: unknown): Arena {
    const { arenaBytes, mostBytes } = this.#options;
    const held = this.all.reduce((sum, arena) => sum + arena.memory.buffer.byteLength, 0);
    if (bytes >= arenaBytes || held + bytes > mostBytes) throw refusal;
    let arena: Arena;
    try {
      arena = this.#new();
    } catch {
      throw refusal;
    }
    this.all.push(arena);
    this.#added();
    return arena;
  }

  /** The memory, which must be of this device. */
  own(memory: Memory): CpuMemory {
    if (memory instanceof CpuMemory && this.all[memory.arena.index] === memory.arena) return memory;
    throw new DeviceError("cpu: a memory of another device was used here");
  }

  /** The memory of a region, which must lie inside of it. */
  at({ memory, offset, bytes }: Region): CpuMemory {
    const own = this.own(memory);
    if (offset < 0 || bytes < 0 || offset + bytes > own.bytes)
      throw new DeviceError(`cpu: bytes ${offset} to ${offset + bytes} lie outside of a memory of ${own.bytes}`);
    return own;
  }
}

/** Gives memory back to its arena. */
export const give = ({ arena, offset }: CpuMemory): void => arena.give(offset);
