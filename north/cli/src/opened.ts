/** The device that a command computes on. */
import process from "node:process";
import { device, type HardwareModel, probeAll } from "sinan";
import { loadAll } from "sinan/auto";
import { nearest, UsageError } from "./flags.ts";

/** Opens the device of `--device`, of SINAN_DEVICE, or the processor.
 *  @throws UsageError for a name that no driver has; DeviceError for a device that cannot be opened */
export async function openDevice(flag: string | undefined): Promise<HardwareModel> {
  const name = flag ?? (process.env["SINAN_DEVICE"] || "cpu");
  await loadAll();
  const names = (await probeAll()).flatMap(({ id, driver }) => [id, driver]);
  if (!names.includes(name.split(":")[0] ?? "") && !names.includes(name)) {
    const meant = nearest(name, names);
    throw new UsageError(
      `${flag === undefined ? "SINAN_DEVICE" : "--device"}: there is no device ${JSON.stringify(name)}`,
      {
        hint: meant === undefined ? `There are ${[...new Set(names)].join(", ")}.` : `Did you mean ${meant}?`,
      },
    );
  }
  return device(name);
}
