/** The memory of the device: one WebAssembly memory that grows, and which parts of it are free. Best fit over a list of
 *  free blocks in order of their offsets; neighbours are joined when a block comes back. */

import { ArgumentError, OutOfMemoryError } from "sinan/south";

export const alignment = 64;
const pageBytes = 65536;
const maxPages = 65536;

export interface Arena {
  readonly memory: WebAssembly.Memory;
  readonly shared: boolean;
  /** The offset of a block of at least that many bytes.
   *  @throws OutOfMemoryError if the memory cannot grow enough */
  take(bytes: number): number;
  /** @throws ArgumentError if the block is not one that `take` gave, or was given back */
  give(offset: number): void;
  /** A view of the memory as it is now: taking more may detach it. */
  bytes(): Uint8Array;
}

interface Block {
  offset: number;
  bytes: number;
}

/** A memory of as many pages as the host allows; the first block of it is kept for reads that a mask forbids. */
function newMemory(shared: boolean): WebAssembly.Memory {
  if (!shared) return new WebAssembly.Memory({ initial: 16 });
  let refusal: unknown;
  // Where address space is scarce a shared memory, which reserves all of it, must be smaller.
  for (let maximum = maxPages; maximum >= 1024; maximum /= 2) {
    try {
      return new WebAssembly.Memory({ initial: 16, maximum, shared });
    } catch (cause) {
      refusal = cause;
    }
  }
  throw new OutOfMemoryError("cpu: no shared memory of even 64 MiB can be reserved", { cause: refusal });
}

/** @param shared  whether other threads may be given the memory */
export function newArena(shared: boolean): Arena {
  const memory = newMemory(shared);
  const taken = new Map<number, number>();
  let end = memory.buffer.byteLength;
  const free: Block[] = [{ offset: alignment, bytes: end - alignment }];

  function grow(bytes: number): void {
    const last = free.at(-1);
    const tail = last && last.offset + last.bytes === end ? last : undefined;
    const least = Math.ceil((bytes - (tail?.bytes ?? 0)) / pageBytes);
    const ample = Math.max(least, Math.min(Math.ceil(end / pageBytes / 4), 1024));
    const before = end;
    for (const pages of ample === least ? [least] : [ample, least]) {
      try {
        memory.grow(pages);
        end += pages * pageBytes;
        break;
      } catch {
        // Growing by less may still do.
      }
    }
    if (end === before) {
      const held = [...taken.values()].reduce((sum, n) => sum + n, 0);
      throw new OutOfMemoryError(
        `cpu: ${bytes} more bytes do not fit: ${held} bytes are taken of a memory of ${end}, which cannot grow enough`,
        {
          hint: "free tensors, use smaller batches, or raise the process's memory limit",
        },
      );
    }
    if (tail) tail.bytes += end - before;
    else free.push({ offset: before, bytes: end - before });
  }

  function bestFit(bytes: number): number {
    let best = -1;
    for (const [i, block] of free.entries()) {
      if (block.bytes >= bytes && (best < 0 || block.bytes < (free[best] as Block).bytes)) best = i;
    }
    return best;
  }

  return {
    memory,
    shared,
    bytes: () => new Uint8Array(memory.buffer),

    take(wanted) {
      const bytes = Math.max(Math.ceil(wanted / alignment), 1) * alignment;
      let at = bestFit(bytes);
      if (at < 0) {
        grow(bytes);
        at = bestFit(bytes);
      }
      const block = free[at] as Block;
      const { offset } = block;
      block.offset += bytes;
      block.bytes -= bytes;
      if (block.bytes === 0) free.splice(at, 1);
      taken.set(offset, bytes);
      return offset;
    },

    give(offset) {
      const bytes = taken.get(offset);
      if (bytes === undefined)
        throw new ArgumentError(`cpu: memory at ${offset} is freed, but was not allocated, or was freed before`);
      taken.delete(offset);
      let at = 0;
      for (let high = free.length; at < high; ) {
        const middle = (at + high) >> 1;
        if ((free[middle] as Block).offset < offset) at = middle + 1;
        else high = middle;
      }
      const [before, after] = [free[at - 1], free[at]];
      const joinsBefore = before !== undefined && before.offset + before.bytes === offset;
      const joinsAfter = after !== undefined && offset + bytes === after.offset;
      if (joinsBefore) before.bytes += bytes;
      if (joinsAfter && joinsBefore) {
        before.bytes += after.bytes;
        free.splice(at, 1);
      } else if (joinsAfter) {
        after.offset = offset;
        after.bytes += bytes;
      } else if (!joinsBefore) {
        free.splice(at, 0, { offset, bytes });
      }
    },
  };
}
