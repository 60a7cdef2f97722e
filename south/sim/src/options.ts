/** What a simulated device can be told to do wrong, and how late. */
import { ArgumentError, type Json } from "sinan/south";

/** What the simulated device has. */
export interface SimOptions {
  /** Of the order in which the two queues get ahead of each other; 0 by default. */
  readonly seed?: number;
  /** Milliseconds between two turns of the device, in each of which it runs a few commands; 0 is the next macrotask. */
  readonly latencyMs?: number;
  /** Bytes that all live device memory together may take; 1 GiB by default. */
  readonly memoryBytes?: number;
  /** The device is lost once it has run this many commands. */
  readonly loseAfter?: number;
  /** The launch with this number, the first being 1, fails. */
  readonly failLaunch?: number;
  /** Whether an output of a launch may lie on another of its regions; true by default. */
  readonly aliasing?: boolean;
}

export type Settings = Required<SimOptions>;

const defaults: Settings = {
  seed: 0,
  latencyMs: 0,
  memoryBytes: 2 ** 30,
  loseAfter: Number.POSITIVE_INFINITY,
  failLaunch: Number.POSITIVE_INFINITY,
  aliasing: true,
};

/** @throws ArgumentError for an option that there is not, or not of its kind */
export function settingsFrom(options: Json | undefined): Settings {
  if (options === undefined || options === null) return defaults;
  if (typeof options !== "object" || Array.isArray(options))
    throw new ArgumentError(`sim: expected an object of options, got ${JSON.stringify(options)}`);
  for (const [key, value] of Object.entries(options)) {
    if (!Object.hasOwn(defaults, key))
      throw new ArgumentError(`sim: no option is called ${key}`, {
        hint: `there are ${Object.keys(defaults).join(", ")}`,
      });
    const kind = typeof defaults[key as keyof Settings];
    if (typeof value !== kind || (typeof value === "number" && !(value >= 0)))
      throw new ArgumentError(`sim: ${key} should be a ${kind} of at least 0, not ${JSON.stringify(value)}`);
  }
  return { ...defaults, ...(options as SimOptions) };
}
