/** `sinan devices`: what this machine has to compute on. */
import { probeAll } from "sinan";
import { loadAll } from "sinan/auto";
import { flagLines, type Flags, readFlags } from "./flags.ts";
import { json, print } from "./output.ts";

export const devicesFlags = {
  json: { kind: "flag", about: "a JSON array on standard output" },
  help: { kind: "flag", about: "this text" },
} as const satisfies Flags;

export const devicesHelp = (): string => `sinan devices: what there is to compute on

${flagLines(devicesFlags)}

  sinan devices
  sinan train --device sim --steps 5      any of them, by name
`;

/** @returns the exit code */
export async function devicesCommand(args: readonly string[]): Promise<number> {
  const values = readFlags("devices", devicesFlags, args);
  if (values.help) {
    print(devicesHelp());
    return 0;
  }
  await loadAll();
  const devices = (await probeAll()).map(({ id, driver, kind, vendor, available, reason }) => ({
    name: id,
    driver,
    kind,
    vendor,
    available,
    ...(reason === undefined ? {} : { reason }),
  }));
  if (values.json) {
    json(devices);
    return 0;
  }
  const width = Math.max(...devices.map(({ name }) => name.length));
  for (const { name, kind, vendor, available, reason } of devices) {
    const state = available ? "" : `  not available${reason === undefined ? "" : `: ${reason}`}`;
    print(`${name.padEnd(width)}  ${kind}${vendor === "" ? "" : `, ${vendor}`}${state}\n`);
  }
  return 0;
}
