/** Runs a test on each device in turn, as a subtest a device. The devices are "interpreter", "sim" and "cpu";
 *  SINAN_TEST_DEVICES may name some of them, separated by commas ("all", or nothing, is all of them). */
import { test, type TestContext } from "node:test";
import { device, type Json } from "../core/src/index.ts";

export const deviceNames = ["interpreter", "sim", "cpu"] as const;
export type DeviceName = (typeof deviceNames)[number];

const asked = process.env["SINAN_TEST_DEVICES"] ?? "all";
const chosen: readonly DeviceName[] =
  asked === "all" ? deviceNames : deviceNames.filter((d) => asked.split(",").includes(d));
if (chosen.length === 0)
  throw new Error(`SINAN_TEST_DEVICES names no device: ${JSON.stringify(asked)}; there are ${deviceNames.join(", ")}`);

/** Options of the processor, as JSON: pages of `browser.test.ts` share every loop between threads. */
const cpuOptions = process.env["SINAN_TEST_CPU"];
let isCpuOpen = cpuOptions === undefined;

/** Makes the device the default one. */
async function use(on: DeviceName): Promise<void> {
  if (on !== "cpu" || isCpuOpen) return void (await device(on));
  await device(on, { options: JSON.parse(cpuOptions ?? "null") as Json });
  isCpuOpen = true;
}

/** A test whose body runs once on each device, made the default before it. Make tensors inside the body. */
export function onEachDevice(name: string, body: (t: TestContext, device: DeviceName) => void | Promise<void>): void {
  for (const on of chosen)
    test(`${name} (${on})`, async (t) => {
      await use(on);
      await body(t, on);
    });
}
