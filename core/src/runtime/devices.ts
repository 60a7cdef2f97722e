/** Which device work goes to. Opening is asynchronous and begins at the first use; everything else may be called before it
 *  is done. The default is `SINAN_DEVICE`, or the processor, or the interpreter where no package for it is there. */
import { loadDriver } from "../auto.ts";
import { codegenFor, driverNamed, isRegistered } from "./registry.ts";
import { Stream } from "./stream.ts";
import type { profile, Profile } from "../explain/profile.ts";
import type { Json } from "../io/json.ts";
import type { Building, Device, TierChange } from "./driver.ts";
import type { HardwareModel } from "./hardware.ts";

const host = globalThis as {
  readonly process?: {
    readonly env?: Readonly<Record<string, string | undefined>>;
    readonly on?: (event: "exit", listener: () => void) => unknown;
  };
};

const streams = new Map<string, Stream>();
let chosen: Stream | null = null;

/** What a device is opened with. */
export interface DeviceOptions {
  /** Passed to the driver. */
  readonly options?: Json;
  /** Bytes that live tensors may take. */
  readonly budget?: number;
}

/** Registers a driver, if it is one of `sinan/auto` whose package is installed. */
async function find(driver: string): Promise<boolean> {
  if (!isRegistered(driver)) await loadDriver(driver);
  return isRegistered(driver);
}

async function open(name: string, options: Json | undefined): Promise<Device> {
  const [driver = name] = name.split(":");
  await find(driver);
  const device = await driverNamed(driver).open(name, options);
  codegenFor(device.hardware);
  const env = host.process?.env;
  if (env?.["SINAN_EXPLAIN"] || env?.["SINAN_TUNING"]) {
    // By a name that no bundler follows: nobody's page should download it.
    const attendant = (await import(["sinan", "explain"].join("/"))) as Explainer;
    await attendant.attend(device, env, host.process?.on && ((say) => host.process?.on?.("exit", say)));
  }
  return device;
}

interface Explainer {
  readonly profile: typeof profile;
  attend(
    device: Device,
    env: Readonly<Record<string, string | undefined>>,
    atEnd: ((say: () => void) => void) | undefined,
  ): Promise<void>;
}

async function openDefault(): Promise<Device> {
  const asked = host.process?.env?.["SINAN_DEVICE"];
  return open(asked || ((await find("cpu")) ? "cpu" : "interpreter"), undefined);
}

/** The stream of the default device; its opening begins now if it has not. */
export function defaultStream(): Stream {
  if (chosen) return chosen;
  const opening = openDefault();
  opening.catch(() => {});
  chosen = new Stream(host.process?.env?.["SINAN_DEVICE"] ?? "default", opening);
  return chosen;
}

/** Opens devices, and profiles what runs on them. */
export interface Devices {
  (name: string, options?: DeviceOptions): Promise<HardwareModel>;
  /** Where the time of whatever runs while a function does went, kernel by kernel: `profile` of `sinan/explain`, which is loaded when
   *  this is called. What a bundler made does not find it: import `profile` there.
   *
   *  @example const { toText } = await device.profile(async () => (await step(state)).loss.item()); */
  profile<T>(body: () => Promise<T>): Promise<Profile<T>>;
}

/** Opens a device and makes it the default for what comes after; `device.profile` says where time went on it.
 *
 *  @param name  a driver's name, or `driver:index`, as `devices()` lists them
 *  @returns its hardware model
 *  @throws DeviceError if there is no such device here
 *  @example await device("interpreter") */
export const device: Devices = /* @__PURE__ */ Object.assign(
  async (name: string, options: DeviceOptions = {}): Promise<HardwareModel> => {
    const stream = await openStream(name, options);
    chosen = stream;
    return stream.device.hardware;
  },
  {
    async profile<T>(body: () => Promise<T>): Promise<Profile<T>> {
      const explainer = (await import(["sinan", "explain"].join("/"))) as Explainer;
      return explainer.profile(body);
    },
  },
);

/** An open device under its name; one opened with options of its own is a new one. */
export async function openStream(name: string, { options, budget }: DeviceOptions = {}): Promise<Stream> {
  const known = options === undefined ? (streams.get(name) ?? (await defaultCalled(name))) : undefined;
  const stream = known ?? new Stream(name, open(name, options));
  if (budget !== undefined) stream.budget = budget;
  await stream.opened();
  streams.set(name, stream);
  return stream;
}

/** The hardware of the default device, which is opened if it is not yet.
 *  @throws DeviceError if it cannot be opened */
export const currentDevice = async (): Promise<HardwareModel> => (await defaultStream().opened()).hardware;

/** Makes the kernels of the default device in another of its tiers from here on: programs are compiled anew when they are called
 *  next, and their numbers may differ in the last bits. Of the processor there are "wasm" and "native", C that the system's
 *  compiler builds; "auto" is the fastest that the machine offers. A device of one tier stays as it is.
 *
 *  @param tell  is told of what is built, from here on
 *  @returns the tier that it has now, and why that is not the fastest, where it is not
 *  @throws DeviceError if a tier was asked for by name and is not to be had
 *  @example const { tier } = await changeTier("auto"); */
export async function changeTier(tier: string, tell?: (building: Building) => void): Promise<TierChange> {
  const opened = await defaultStream().opened();
  return opened.changeTier?.(tier, tell) ?? { tier: opened.hardware.tier ?? opened.hardware.driver };
}

/** The default device, if it has been used already and goes by that name. */
async function defaultCalled(name: string): Promise<Stream | undefined> {
  if (!chosen) return undefined;
  const stream = chosen;
  const opened = await stream.opened().catch(() => undefined);
  // One that was opened under a name of its own, such as `cpu:native`, is not what a shorter one means.
  const names = stream.name.includes(":") ? [stream.name] : [opened?.hardware.id, opened?.hardware.driver];
  return names.includes(name) ? stream : undefined;
}
