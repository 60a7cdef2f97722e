/** The interpreter as a device: the slowest and the most trusted. Its memory is the host's own, and work is done by the time
 *  `submit` returns unless it waits for a fence of somebody else. */
import { DeviceError, OutOfMemoryError } from "../errors.ts";
import { byteSize, isFloat } from "../ir/dtype.ts";
import type { TensorType } from "../ir/type.ts";
import type { Json } from "../io/json.ts";
import type {
  Artifact,
  Command,
  Device,
  Driver,
  Executable,
  Fence,
  Loss,
  Memory,
  MemorySpace,
  Queue,
  Region,
} from "../runtime/driver.ts";
import { Fences } from "./fences.ts";
import { graphHardware as hardware } from "./hardware.ts";
import { type Group, knownSizes, launchGroup, loadGroup } from "./launch.ts";
import { decode, encode, type Value } from "./value.ts";

/** `{ exact: true }` leaves floats unrounded between kernels too: a buffer that a kernel wrote keeps, beside its bytes, the
 *  doubles that they were rounded from, and the next kernel reads those as long as the bytes are still the same. So a
 *  program in f32 whose inputs are cast from f64 and whose results are cast to f64 is computed in f64 throughout. */
export const interpreterDriver: Driver = {
  name: "interpreter",
  probe: () => Promise.resolve([hardware]),
  open: (id, options) =>
    id === "interpreter" || id === "interpreter:0"
      ? Promise.resolve(openDevice(isExact(options)))
      : Promise.reject(
          new DeviceError(`the interpreter driver has one device, "interpreter", not ${JSON.stringify(id)}`),
        ),
};

const isExact = (options: Json | undefined): boolean =>
  typeof options === "object" && options !== null && (options as { readonly exact?: Json }).exact === true;

interface Submission {
  readonly commands: readonly Command[];
  readonly signal: Fence;
  /** Fences that have not passed yet. */
  waits: number;
  /** What failed before it, or in it. */
  poison: Error | undefined;
}

class HostMemory implements Memory {
  readonly bytes: number;
  readonly space: MemorySpace;
  readonly #data: Uint8Array<ArrayBuffer>;
  /** In exact mode: values by the offset that they were written at. */
  readonly unrounded = new Map<number, Value>();

  constructor(bytes: number, space: MemorySpace) {
    this.bytes = bytes;
    this.space = space;
    this.#data = new Uint8Array(bytes);
  }

  view(): Uint8Array<ArrayBuffer> {
    return this.#data;
  }
}

function bytesOf({ memory, offset, bytes }: Region): Uint8Array<ArrayBuffer> {
  if (!(memory instanceof HostMemory))
    throw new DeviceError("a region lies in the memory of another device", { hint: "copy it through host memory" });
  return memory.view().subarray(offset, offset + bytes);
}

function openDevice(exact: boolean): Device {
  const fences = new Fences();
  const groups = new WeakMap<Executable, Group>();

  const read = (region: Region, type: TensorType): Value => {
    const sizes = knownSizes(type);
    const bytes = bytesOf(region);
    const kept = exact && isFloat(type.dtype) ? (region.memory as HostMemory).unrounded.get(region.offset) : undefined;
    if (
      kept?.dtype === type.dtype &&
      kept.data.length === sizes.reduce((n, d) => n * d, 1) &&
      sameStart(bytes, encode(kept))
    )
      return { ...kept, dims: sizes };
    return decode(type.dtype, bytes, sizes);
  };
  const write = (region: Region, value: Value): void => {
    const bytes = encode(value);
    if (bytes.length > region.bytes)
      throw new DeviceError(`a result of ${bytes.length} bytes does not fit a region of ${region.bytes}`);
    bytesOf(region).set(bytes);
    if (exact && isFloat(value.dtype)) (region.memory as HostMemory).unrounded.set(region.offset, value);
  };

  const copy = (from: Region, to: Region): void => {
    const bytes = bytesOf(from);
    bytesOf(to).set(bytes);
    const kept = exact ? (from.memory as HostMemory).unrounded.get(from.offset) : undefined;
    if (kept && byteSize(kept.dtype, kept.data.length) <= bytes.length)
      (to.memory as HostMemory).unrounded.set(to.offset, kept);
  };

  const run = (command: Command): void => {
    switch (command.kind) {
      case "launch": {
        const { executable, regions, scalars } = command;
        const group = groups.get(executable);
        if (!group) throw new DeviceError(`${executable.name} was loaded on another device`);
        const at = (i: number): Region => regions[i] as Region;
        launchGroup(
          group,
          {
            count: regions.length,
            read: (i, type, from) => read(part(at(i), from), type),
            write: (i, value, from) => write(part(at(i), from), value),
          },
          scalars,
          exact,
        );
        return;
      }
      case "copy":
        return copy(command.from, command.to);
      case "fill":
        bytesOf(command.to).fill(command.byte);
        return;
      case "engineRun":
      case "collective":
        throw new DeviceError(`the interpreter has no ${command.kind}`);
      default:
        command satisfies never;
    }
  };

  const lines: Readonly<Record<Queue, Submission[]>> = { compute: [], copy: [] };
  /** Runs what stands first in a queue and waits for nothing. */
  const drain = (line: Submission[]): void => {
    for (let first = line[0]; first?.waits === 0; first = line[0]) {
      line.shift();
      try {
        if (!first.poison) first.commands.forEach(run);
      } catch (cause) {
        first.poison = cause as Error;
      }
      fences.signal(first.signal, first.poison);
    }
  };

  return {
    hardware,
    lost: new Promise<Loss>(() => {}),
    alloc(bytes: number, space: MemorySpace): Memory {
      if (bytes <= hardware.limits.maxBytes) return new HostMemory(bytes, space);
      throw new OutOfMemoryError(
        `the interpreter allocates at most ${hardware.limits.maxBytes} bytes at once, not ${bytes}`,
      );
    },
    free(): void {},
    load(artifact: Artifact): Promise<Executable> {
      return new Promise((resolve) => {
        const group = loadGroup(artifact);
        const executable: Executable = { name: artifact.name };
        groups.set(executable, group);
        resolve(executable);
      });
    },
    submit(queue: Queue, commands: readonly Command[], wait: readonly Fence[], signal: Fence): void {
      const line = lines[queue];
      line.push({ commands, signal, waits: wait.length, poison: undefined });
      const own = line.at(-1) as Submission;
      for (const fence of wait)
        fences.after(fence, (failure) => {
          own.poison ??= failure;
          own.waits--;
          drain(line);
        });
      if (wait.length === 0) drain(line);
    },
    wait: (fence, timeoutMs) => fences.wait(fence, timeoutMs),
    poll: (fence) => fences.poll(fence),
    close: () => Promise.resolve(),
  };
}

const part = (region: Region, from: number): Region =>
  from === 0 ? region : { ...region, offset: region.offset + from, bytes: region.bytes - from };

const sameStart = (bytes: Uint8Array, expected: Uint8Array): boolean =>
  expected.length <= bytes.length && expected.every((b, i) => b === bytes[i]);
