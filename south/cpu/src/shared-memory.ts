/** Memories that other threads may be given. */

import { OutOfMemoryError } from "sinan/south";
import { firstPages, pageBytes } from "./arena.ts";

/** Pages of the smallest that is worth having. */
const fewestPages = 1024;

const reserved = new WeakMap<WebAssembly.Memory, number>();

/** What is known to be reserved of a memory: all that a shared one may grow to, of others what they are now. */
export const reservedBytes = (memory: WebAssembly.Memory): number => reserved.get(memory) ?? memory.buffer.byteLength;

/** A shared memory of up to so many pages, or of fewer: all of it is reserved, so where address space is scarce it must be smaller,
 *  and leave some for others.
 *  @throws OutOfMemoryError if the host gives none */
export function newSharedMemory(most: number): WebAssembly.Memory {
  const initial = Math.min(firstPages, most);
  let refusal: unknown;
  for (let maximum = most; maximum >= Math.min(most, fewestPages); maximum = Math.floor(maximum / 4)) {
    try {
      const memory = new WebAssembly.Memory({ initial, maximum, shared: true });
      reserved.set(memory, maximum * pageBytes);
      return memory;
    } catch (cause) {
      refusal = cause;
    }
  }
  throw new OutOfMemoryError("cpu: no shared memory of even 64 MiB can be reserved", { cause: refusal });
}
