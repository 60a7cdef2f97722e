/** The driver "sim": one device, a new one at each opening. */
import { DeviceError, type Driver, graphHardware, type HardwareModel } from "sinan/south";
import { SimDevice } from "./device.ts";
import { type Settings, settingsFrom } from "./options.ts";

const model = ({ memoryBytes, aliasing }: Settings): HardwareModel => ({
  ...graphHardware,
  id: "sim",
  driver: "sim",
  kind: "simulated",
  memory: [{ name: "device", bytes: memoryBytes }],
  unified: false,
  limits: { ...graphHardware.limits, maxBytes: memoryBytes, aliasing },
});

/** Options: see `SimOptions`. */
export const simDriver: Driver = {
  name: "sim",
  probe: () => Promise.resolve([model(settingsFrom(undefined))]),
  open: async (id, options) => {
    if (id !== "sim" && id !== "sim:0")
      throw new DeviceError(`the sim driver has one device, "sim", not ${JSON.stringify(id)}`);
    const settings = settingsFrom(options);
    return new SimDevice(model(settings), settings);
  },
};
