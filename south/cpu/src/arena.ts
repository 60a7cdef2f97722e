/** One WebAssembly memory that grows, and which parts of it are free. Best fit over a list of free blocks in order of their
 *  offsets; neighbours are joined when a block comes back. */

import { ArgumentError, OutOfMemoryError } from "sinan/south";

export const alignment = 64;
/** Large blocks are longer by this, so that those of one size do not all begin in the same sets of a cache: a kernel reads several
 *  side by side. */
const stagger = 9 * alignment;
const large = 2 ** 16;
/** What one block at most leaves of an arena: its first block, and what large ones are longer by. */
export const ownBytes = alignment + stagger;
export const pageBytes = 65536;
/** What addresses of 32 bits reach. */
export const maxPages = 65536;
/** What a memory begins with. */
export const firstPages = 16;

export interface Arena {
  readonly memory: WebAssembly.Memory;
  /** Its place among the arenas of a device. */
  readonly index: number;
  /** The offset of a block of at least that many bytes; undefined where the memory would have to grow. */
  takeFree(bytes: number): number | undefined;
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

/** A memory of up to so many pages, for one thread. */
export const newMemory = (most: number): WebAssembly.Memory =>
  new WebAssembly.Memory({ initial: Math.min(firstPages, most), ...(most < maxPages && { maximum: most }) });

/** An arena of a memory, whose first block is kept for reads that a mask forbids. */
export function newArena(memory: WebAssembly.Memory, index = 0): Arena {
  const taken = new Map<number, number>();
  let end = memory.buffer.byteLength;
  const free: Block[] = [{ offset: alignment, bytes: end - alignment }];

  function grow(wanted: number): void {
    const bytes = staggered(wanted);
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
        `cpu: ${wanted} more bytes do not fit: ${held} bytes are taken of a memory of ${end}, which cannot grow enough`,
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

  const staggered = (wanted: number): number => blockBytes(wanted) + (wanted >= large ? stagger : 0);
  const blockBytes = (wanted: number): number => Math.max(Math.ceil(wanted / alignment), 1) * alignment;

  function takeFree(wanted: number): number | undefined {
    let bytes = staggered(wanted);
    let at = bestFit(bytes);
    if (at < 0) at = bestFit((bytes = blockBytes(wanted)));
    if (at < 0) return undefined;
    const block = free[at] as Block;
    const { offset } = block;
    block.offset += bytes;
    block.bytes -= bytes;
    if (block.bytes === 0) free.splice(at, 1);
    taken.set(offset, bytes);
    return offset;
  }

  return {
    memory,
    index,
    bytes: () => new Uint8Array(memory.buffer),
    takeFree,

    take(wanted) {
      const offset = takeFree(wanted);
      if (offset !== undefined) return offset;
      grow(wanted);
      return takeFree(wanted) as number;
    },

    give(offset) {
      const bytes = taken.get(offset);
      if (bytes === undefined)
        throw new ArgumentError(`cpu: memory at ${offset} is freed, but was not allocated, or was freed before`);
      taken.delete(offset);
      const behind = free.findIndex((block) => block.offset > offset);
      const at = behind < 0 ? free.length : behind;
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
