/** Finds the CPU: what its WebAssembly takes, asked of the engine; what the hardware is like, from static defaults, so that a
 *  plan is the same wherever the features are. */

import { DeviceError } from "sinan/south";
import type { Driver, HardwareModel, Json } from "sinan/south";
import { openCpu } from "./device.ts";
import { alignment } from "./arena.ts";
import { probe } from "./wasm/probe.ts";
import { codegenName } from "./wasm/render.ts";

const canShare = (): boolean => typeof SharedArrayBuffer === "function" && probe("threads");

/** @param shared  whether the memory can be given to other threads */
function hardwareModel(shared: boolean): HardwareModel {
  const simd = probe("simd");
  const available = simd && probe("bulkMemory");
  const features = [...(probe("relaxedSimd") ? ["relaxed-madd"] : []), ...(shared ? ["shared-memory"] : [])];
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
      u8: "native",
      f16: "emulated",
      bf16: "emulated",
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
      { name: "device", bytes: 2 ** 32 - 2 ** 16 },
    ],
    unified: true,
    features,
    limits: { alignment, maxBuffers: 512, maxBytes: 2 ** 32 - 2 ** 16, vectorRegisters: 16, aliasing: true },
    launchNs: 500,
  };
}

function isSharedOption(options: Json | undefined): boolean {
  if (options === undefined || options === null) return true;
  if (typeof options !== "object" || !("shared" in options)) return true;
  if (typeof options.shared !== "boolean")
    throw new DeviceError(`cpu: the option shared is true or false, got ${JSON.stringify(options.shared)}`);
  return options.shared;
}

/** The processor this runs on. `open` takes `{ shared: false }` for a memory that no other thread can be given, as a page
 *  without cross-origin isolation has it. */
export const cpuDriver: Driver = {
  name: "cpu",
  async probe() {
    return [hardwareModel(canShare())];
  },
  async open(id, options) {
    const shared = canShare() && isSharedOption(options);
    const hardware = hardwareModel(shared);
    if (id !== "cpu" && id !== "cpu:0")
      throw new DeviceError(`cpu: there is no device ${JSON.stringify(id)}`, { hint: 'the one it has is "cpu"' });
    if (!hardware.available) throw new DeviceError(`cpu: ${hardware.reason}`);
    return openCpu(hardware, shared);
  },
};
