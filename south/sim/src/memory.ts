/** Memory of the simulated device. Device memory has no view, as on a card across a bus, and starts as garbage, so that what
 *  nobody wrote is not taken for zeros; host memory can be seen by both sides. */
import { DeviceError, type Memory, type MemorySpace, type Region } from "sinan/south";

const garbage = 0xfe;
const alignment = 64;

class SimMemory implements Memory {
  readonly bytes: number;
  readonly space: MemorySpace;
  readonly owner: object;
  freed = false;
  /** What the device itself reads and writes. */
  readonly cells: Uint8Array<ArrayBuffer>;

  constructor(bytes: number, space: MemorySpace, owner: object) {
    this.bytes = bytes;
    this.space = space;
    this.owner = owner;
    this.cells = new Uint8Array(bytes).fill(garbage);
  }
}

class HostMemory extends SimMemory {
  view(): Uint8Array<ArrayBuffer> {
    return this.cells;
  }
}

export const newMemory = (bytes: number, space: MemorySpace, owner: object): Memory =>
  space === "host" ? new HostMemory(bytes, space, owner) : new SimMemory(bytes, space, owner);

/** @throws DeviceError unless the memory is this device's, and lives */
function ownMemory(memory: Memory, owner: object): SimMemory {
  if (!(memory instanceof SimMemory) || memory.owner !== owner)
    throw new DeviceError("a region lies in the memory of another device", { hint: "copy it through host memory" });
  if (memory.freed) throw new DeviceError(`memory of ${memory.bytes} bytes was used after it was freed`);
  return memory;
}

/** @throws DeviceError if it was freed before */
export function freeMemory(memory: Memory, owner: object): void {
  ownMemory(memory, owner).freed = true;
}

/** What a driver of real hardware would not forgive: foreign or freed memory, an offset out of line, a region out of bounds. */
export function checkRegion({ memory, offset, bytes }: Region, owner: object): void {
  const { bytes: size } = ownMemory(memory, owner);
  if (offset % alignment !== 0 || offset < 0 || bytes < 0 || offset + bytes > size)
    throw new DeviceError(
      `a region of ${bytes} bytes at ${offset} does not fit memory of ${size} bytes, aligned to ${alignment}`,
    );
}

/** The bytes of a checked region. Memory freed while the work was under way may still be read by it. */
export const bytesOf = ({ memory, offset, bytes }: Region): Uint8Array<ArrayBuffer> =>
  (memory as SimMemory).cells.subarray(offset, offset + bytes);

export const overlap = (a: Region, b: Region): boolean =>
  a.memory === b.memory && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
