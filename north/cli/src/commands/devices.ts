/** `sinan devices`: what this machine has to compute on. */
import { command } from "../command.ts";
import { everywhere } from "../common-flags.ts";
import { flag } from "../flags.ts";
import { json, print } from "../output.ts";

export const devicesCommand = command({
  name: "devices",
  about: "what there is to compute on",
  flags: { json: flag("a JSON array on standard output"), ...everywhere },
  examples: [
    ["devices", ""],
    ["train --device sim --steps 5", "any of them, by name"],
  ],
  async run(values) {
    const [{ probeAll }, { loadAll }] = await Promise.all([import("sinan"), import("sinan/auto")]);
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
  },
});
