/** The driver "sim": one device, a new one at each opening. */
import { DeviceError, type Driver, type HardwareModel } from "sinan/south";
import { SimDevice } from "./device.ts";
import { type Settings, settingsFrom } from "./options.ts";

const model = ({ memoryBytes, aliasing }: Settings): HardwareModel => ({
  id: "sim",
  driver: "sim",
  kind: "simulated",
  vendor: "sinan",
  available: true,
  codegens: ["sinan-ir"],
  dtypes: {
    bool: "native",
    u8: "emulated",
    i8: "emulated",
    u16: "emulated",
    i16: "emulated",
    i32: "native",
    u32: "native",
    i64: "emulated",
    f16: "emulated",
    bf16: "emulated",
    f32: "native",
    f64: "native",
    q8_0: "emulated",
    q4_0: "emulated",
    q4_k: "emulated",
  },
  compute: [{ unit: "scalar", dtype: "f64", lanes: 1 }],
  memory: [{ name: "device", bytes: memoryBytes }],
  unified: false,
  features: [],
  limits: { alignment: 64, maxBuffers: 1024, maxBytes: memoryBytes, vectorRegisters: 0, aliasing },
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
