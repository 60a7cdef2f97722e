/** Finds the CPU: what its WebAssembly takes, asked of the engine; what the hardware is like, from static defaults, so that a
 *  plan is the same wherever the features are. */

import { DeviceError } from "sinan/south";
import type { Driver, HardwareModel, Json } from "sinan/south";
import { type DeviceParts, openCpu } from "./device.ts";
import { alignment, ownBytes } from "./arena.ts";
import { bulkMemory, fusesMadd, probe, relaxedSimd, simd } from "./wasm/probe.ts";
import { codegenName } from "./wasm/render.ts";

/** What addresses of 32 bits reach, but for a page. */
export const arenaBytes = 2 ** 32 - 2 ** 16;

function hardwareModel(options: Options, parts: CpuParts | undefined): HardwareModel {
  const shared = parts !== undefined && options.shared !== false && parts.canShare();
  const available = probe(simd) && probe(bulkMemory);
  const threads = shared ? parts.threadCount(options) : 1;
  const most = parts ? parts.memoryBytes() : arenaBytes;
  const features = [...(probe(relaxedSimd) ? ["relaxed-madd"] : []), ...(fusesMadd() ? ["fused-madd"] : [])];
  return {
    id: "cpu",
    driver: "cpu",
    tier: "wasm",
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
      u8: "emulated",
      i8: "emulated",
      u16: "emulated",
      i16: "emulated",
      ...parts?.dtypes,
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

export interface Options {
  readonly shared?: boolean;
  readonly threads?: number;
  readonly grain?: number;
  readonly worker?: string;
  readonly arenaBytes?: number;
}

/** The operations of some microseconds. */
const usualGrain = 1 << 18;

/** What the whole package's driver has, and the lean one has not. */
export interface CpuParts extends DeviceParts {
  /** Those that have rules of their own. */
  readonly dtypes: HardwareModel["dtypes"];
  /** @throws DeviceError at what it does not know */
  readonly optionsOf: (options: Json | undefined) => Options;
  readonly threadCount: (options: Options) => number;
  /** What work may take of the machine's memory. */
  readonly memoryBytes: () => number;
  /** Whether memory can be given to other threads. */
  readonly canShare: () => boolean;
  /** The only tier that a device of that name has, or "auto"; undefined if there is none of that name. */
  readonly tierCalled: (id: string) => string | undefined;
  /** The tier in which such a device begins. */
  readonly firstTier: (wanted: string) => string;
}

/** A driver of the processor this runs on; without parts its device is one thread with one memory, and takes no
 *  options. */
export const driverOf = (parts?: CpuParts): Driver => ({
  name: "cpu",
  async probe() {
    return [hardwareModel({}, parts)];
  },
  async open(id, options) {
    if (!parts && options)
      throw new DeviceError("cpu: the lean device takes no options", { hint: 'import "@sinan/cpu" for all of it' });
    const own = parts?.optionsOf(options) ?? {};
    const hardware = hardwareModel(own, parts);
    const tier = parts ? parts.tierCalled(id) : id === "cpu" || id === "cpu:0" ? "wasm" : undefined;
    if (tier === undefined)
      throw new DeviceError(`cpu: there is no device ${JSON.stringify(id)}`, { hint: 'the one it has is "cpu"' });
    if (!hardware.available) throw new DeviceError(`cpu: ${hardware.reason}`);
    const device = openCpu(
      hardware,
      {
        shared: hardware.sharedMemory === true,
        threads: hardware.threads ?? 1,
        grain: own.grain ?? usualGrain,
        worker: own.worker,
        arenaBytes: own.arenaBytes ?? arenaBytes,
        tier,
      },
      parts,
    );
    if (parts && parts.firstTier(tier) !== "wasm") await device.changeTier?.("native");
    return device;
  },
});
