/** Finds the CPU: what its WebAssembly takes, asked of the engine; what the hardware is like, from static defaults, so that a
 *  plan is the same wherever the features are. */

import { DeviceError } from "sinan/south";
import type { Driver, HardwareModel, Json } from "sinan/south";
import { openCpu } from "./device.ts";
import { alignment, ownBytes } from "./arena.ts";
import { coreCount } from "./crew.ts";
import { fusesMadd, probe } from "./wasm/probe.ts";
import { codegenName } from "./wasm/render.ts";

const host = globalThis as {
  readonly process?: {
    readonly env?: Readonly<Record<string, string | undefined>>;
    readonly getBuiltinModule?: (name: string) => unknown;
    readonly constrainedMemory?: () => number;
  };
};

interface OperatingSystem {
  readonly totalmem: () => number;
}

/** What work may take of the machine's memory; what one memory of 32-bit addresses holds, where that is not known. */
function memoryBytes(): number {
  const { process } = host;
  const os = process?.getBuiltinModule?.("node:os") as OperatingSystem | undefined;
  const constrained = process?.constrainedMemory?.() ?? 0;
  if (!os) return arenaBytes;
  const total = os.totalmem();
  const physical = constrained > 0 ? Math.min(constrained, total) : total;
  return Math.floor((physical / 4) * 3);
}

/** What addresses of 32 bits reach, but for a page. */
const arenaBytes = 2 ** 32 - 2 ** 16;

const canShare = (): boolean => typeof SharedArrayBuffer === "function" && probe("threads");

/** @param shared  whether the memory can be given to other threads */
function hardwareModel(shared: boolean, options: Options): HardwareModel {
  const simd = probe("simd");
  const available = simd && probe("bulkMemory");
  const threads = shared ? threadCount(options) : 1;
  const most = memoryBytes();
  const features = [...(probe("relaxedSimd") ? ["relaxed-madd"] : []), ...(fusesMadd() ? ["fused-madd"] : [])];
  return {
    id: "cpu",
    driver: "cpu",
    kind: "cpu",
    vendor: "generic",
    available,
    ...(available ? {} : { reason: "this engine has no WebAssembly with 128-bit SIMD" }),
    codegens: [codegenName],
    dtypes: {
      f32: "native",
      f64: "native",
      i32: "native",
      u32: "native",
      bool: "native",
      i64: "native",
      u8: "emulated",
      i8: "emulated",
      u16: "emulated",
      i16: "emulated",
      f16: "emulated",
      bf16: "emulated",
      q8_0: "emulated",
      q4_0: "emulated",
      q4_k: "emulated",
    },
    compute: [
      { unit: "vector", dtype: "f32", lanes: 4 },
      { unit: "vector", dtype: "i32", lanes: 4 },
      { unit: "vector", dtype: "u32", lanes: 4 },
      { unit: "vector", dtype: "f64", lanes: 2 },
    ],
    memory: [
      { name: "l1", bytes: 32 * 2 ** 10, sharedBy: 1 },
      { name: "l2", bytes: 2 ** 20, sharedBy: 1 },
      { name: "l3", bytes: 16 * 2 ** 20 },
      { name: "device", bytes: most },
    ],
    unified: true,
    features,
    limits: {
      alignment,
      maxBuffers: 512,
      maxBytes: most,
      maxBufferBytes: Math.min(most, (options.arenaBytes ?? arenaBytes) - ownBytes),
      vectorRegisters: 16,
      aliasing: true,
    },
    launchNs: 500,
    sharedMemory: shared,
    threads,
  };
}

interface Options {
  readonly shared?: boolean;
  readonly threads?: number;
  readonly grain?: number;
  readonly worker?: string;
  readonly arenaBytes?: number;
}

const mostThreads = 256;
/** The operations of some microseconds. */
const usualGrain = 1 << 18;

function optionsOf(options: Json | undefined): Options {
  if (options === undefined || options === null) return {};
  const given = (typeof options === "object" ? options : {}) as Readonly<Record<string, Json>>;
  const wrong = (name: string, expected: string): never => {
    throw new DeviceError(`cpu: the option ${name} is ${expected}, got ${JSON.stringify(given[name])}`);
  };
  const count = (name: "threads" | "grain" | "arenaBytes", most: number): number | undefined => {
    const value = given[name];
    if (value === undefined) return undefined;
    return isCount(value, most) ? value : wrong(name, `a whole number from 1 to ${most}`);
  };
  const { shared, worker } = given;
  const [threads, grain] = [count("threads", mostThreads), count("grain", Number.MAX_SAFE_INTEGER)];
  const own = count("arenaBytes", arenaBytes);
  return {
    ...(shared === undefined
      ? {}
      : { shared: typeof shared === "boolean" ? shared : wrong("shared", "true or false") }),
    ...(threads === undefined ? {} : { threads }),
    ...(grain === undefined ? {} : { grain }),
    ...(worker === undefined
      ? {}
      : { worker: typeof worker === "string" ? worker : wrong("worker", "the address of a program") }),
    ...(own === undefined ? {} : { arenaBytes: own }),
  };
}

const isCount = (value: unknown, most: number): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 1 && value <= most;

/** The option, or else `SINAN_THREADS`, or else as many as the machine runs at once. */
function threadCount({ threads }: Options): number {
  if (threads !== undefined) return threads;
  const asked = host.process?.env?.["SINAN_THREADS"];
  if (!asked) return Math.min(coreCount(), mostThreads);
  const count = Number(asked);
  if (isCount(count, mostThreads)) return count;
  throw new DeviceError(`cpu: SINAN_THREADS is a whole number from 1 to ${mostThreads}, got ${JSON.stringify(asked)}`);
}

/** The processor this runs on. `open` takes `{ threads }`, how many of them share the loops of large kernels (all that the
 *  machine runs at once, if neither this nor the environment variable `SINAN_THREADS` says less), `{ grain }`, about how
 *  many operations make it worth while to share a loop, `{ arenaBytes }`, the most bytes of one of its memories, and
 *  `{ shared: false }` for memories that no other thread can be given, as a page without cross-origin isolation has them: then
 *  there is one thread. In a page the workers are made of their program's text; where its content-security policy forbids that,
 *  the calling thread does all work, unless `{ worker }` is the address of a script that was bundled from `@sinan/cpu/worker`. */
export const cpuDriver: Driver = {
  name: "cpu",
  async probe() {
    return [hardwareModel(canShare(), {})];
  },
  async open(id, options) {
    const own = optionsOf(options);
    const shared = canShare() && own.shared !== false;
    const hardware = hardwareModel(shared, own);
    if (id !== "cpu" && id !== "cpu:0")
      throw new DeviceError(`cpu: there is no device ${JSON.stringify(id)}`, { hint: 'the one it has is "cpu"' });
    if (!hardware.available) throw new DeviceError(`cpu: ${hardware.reason}`);
    return openCpu(hardware, {
      shared,
      threads: hardware.threads ?? 1,
      grain: own.grain ?? usualGrain,
      worker: own.worker,
      arenaBytes: own.arenaBytes ?? arenaBytes,
    });
  },
};
