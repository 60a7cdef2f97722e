/** Every test of operations and models is one test for each device: the interpreter, the simulated device and the processor's
 *  WebAssembly. The device is the default one while the body runs. */
import { test } from "node:test";
import { device } from "../core/src/index.ts";

export const deviceNames = ["interpreter", "sim", "cpu"] as const;
export type DeviceName = (typeof deviceNames)[number];

/** Registers `name` once for each device. Bodies run one after another. */
export function onEachDevice(name: string, body: (device: DeviceName) => void | Promise<void>): void {
  for (const on of deviceNames)
    test(`${on}: ${name}`, async () => {
      await device(on);
      await body(on);
    });
}
