/** Runs a test on each device in turn, as a subtest a device. The devices are "interpreter", "sim", "cpu" (WebAssembly) and "native", which
 *  needs a C compiler and koffi: without them its tests are skipped with the reason. SINAN_TEST_DEVICES may name some of them, separated
 *  by commas, or "none"; "all" is all of them in full; where it is absent, all of them, but of the native tier, whose kernels the system's
 *  compiler builds, a sample that SINAN_SEED chooses. SINAN_TEST_SAMPLE=24 is one test of 24 of it, whatever the devices. */
import { test, type TestContext } from "node:test";
import { device, DeviceError, type Json } from "../core/src/index.ts";
import { openStream } from "../core/src/runtime/devices.ts";

export const deviceNames = ["interpreter", "sim", "cpu"] as const;
export type DeviceName = (typeof deviceNames)[number] | "native";

const all: readonly DeviceName[] = [...deviceNames, "native"];
const asked = process.env["SINAN_TEST_DEVICES"];
const chosen: readonly DeviceName[] =
  asked === undefined || asked === "all" ? all : all.filter((d) => asked.split(",").includes(d));
if (chosen.length === 0 && asked !== "none")
  throw new Error(`SINAN_TEST_DEVICES names no device: ${JSON.stringify(asked)}; there are ${all.join(", ")}`);

/** Options of the processor, as JSON: pages of `browser.test.ts` share every loop between threads. */
const cpuOptions = process.env["SINAN_TEST_CPU"];
let isCpuOpen = cpuOptions === undefined;

/** Why there is no native tier here; undefined if there is one. */
export const noNative: string | undefined = chosen.includes("native") ? await whyNot() : "it was not asked for";

async function whyNot(): Promise<string | undefined> {
  try {
    await device("cpu:native");
    return undefined;
  } catch (error) {
    if (error instanceof DeviceError) return error.message;
    throw error;
  }
}

/** Makes the device the default one. */
async function use(on: DeviceName): Promise<void> {
  if (on === "native") return void (await device("cpu:native"));
  if (on !== "cpu" || isCpuOpen) return void (await device(on));
  await device(on, { options: JSON.parse(cpuOptions ?? "null") as Json });
  isCpuOpen = true;
}

/** Kernels that the compiler refused would have been WebAssembly's. */
async function requireNative(): Promise<void> {
  const { tier } = (await openStream("cpu:native")).device.hardware;
  if (tier !== "native") throw new Error(`the native tier was left for ${tier}: a kernel was not built`);
}

/** One in so many tests is in the sample of the native tier. */
const sample = Number(process.env["SINAN_TEST_SAMPLE"] ?? (asked === undefined ? 8 : 1));

function isInSample(name: string): boolean {
  const seed = process.env["SINAN_SEED"] ?? "1";
  // FNV-1a: pages run this too, and have no node:crypto.
  let hash = 0x811c9dc5;
  for (const c of `${seed} ${name}`) hash = Math.imul(hash ^ (c.codePointAt(0) ?? 0), 0x01000193);
  return (hash >>> 8) % sample === 0;
}

/** A test whose body runs once on each device, made the default before it. Make tensors inside the body. */
export function onEachDevice(name: string, body: (t: TestContext, device: DeviceName) => void | Promise<void>): void {
  for (const on of chosen) {
    if (on === "native" && !isInSample(name)) continue;
    test(`${name} (${on})`, { skip: on === "native" && noNative }, async (t) => {
      await use(on);
      await body(t, on);
      if (on === "native") await requireNative();
    });
  }
}
