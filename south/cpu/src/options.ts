/** What the whole package's device can be asked for when it is opened, and the parts that do it. */

import { DeviceError, type Json } from "sinan/south";
import { arenaBytes, type Options, type CpuParts } from "./driver.ts";
import { workersOf } from "./flights.ts";
import { coreCount } from "./crew.ts";
import { across } from "./across.ts";
import { runFirst } from "./first-run.ts";
import { gather } from "./gather.ts";
import { changes, firstTier, tierCalled } from "./tiers.ts";
import { newSharedMemory } from "./shared-memory.ts";
import { probe, threads } from "./wasm/probe.ts";

const host = globalThis as {
  readonly process?: {
    readonly getBuiltinModule?: (name: string) => unknown;
    readonly constrainedMemory?: () => number;
    readonly env?: Readonly<Record<string, string | undefined>>;
  };
};

interface OperatingSystem {
  readonly totalmem: () => number;
}

/** What work may take of the machine's memory; what one memory of 32-bit addresses holds, where that is not known. */
function memoryBytes(): number {
  const { process } = host;
  const os = process?.getBuiltinModule?.("node:os") as OperatingSystem | undefined;
  const constrained = process?.constrainedMemory?.() ?? 0;
  if (!os) return arenaBytes;
  const total = os.totalmem();
  const physical = constrained > 0 ? Math.min(constrained, total) : total;
  return Math.floor((physical / 4) * 3);
}

const mostThreads = 256;

function optionsOf(options: Json | undefined): Options {
  if (options === undefined || options === null) return {};
  const given = (typeof options === "object" ? options : {}) as Readonly<Record<string, Json>>;
  const wrong = (name: string, expected: string): never => {
    throw new DeviceError(`cpu: the option ${name} is ${expected}, got ${JSON.stringify(given[name])}`);
  };
  const count = (name: "threads" | "grain" | "arenaBytes", most: number): number | undefined => {
    const value = given[name];
    if (value === undefined) return undefined;
    return isCount(value, most) ? value : wrong(name, `a whole number from 1 to ${most}`);
  };
  const { shared, worker } = given;
  const [threads, grain] = [count("threads", mostThreads), count("grain", Number.MAX_SAFE_INTEGER)];
  const own = count("arenaBytes", arenaBytes);
  return {
    ...(shared === undefined
      ? {}
      : { shared: typeof shared === "boolean" ? shared : wrong("shared", "true or false") }),
    ...(threads === undefined ? {} : { threads }),
    ...(grain === undefined ? {} : { grain }),
    ...(worker === undefined
      ? {}
      : { worker: typeof worker === "string" ? worker : wrong("worker", "the address of a program") }),
    ...(own === undefined ? {} : { arenaBytes: own }),
  };
}

const isCount = (value: unknown, most: number): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 1 && value <= most;

/** The option, or else `SINAN_THREADS`, or else as many as the machine runs at once. */
function threadCount({ threads }: Options): number {
  if (threads !== undefined) return threads;
  const asked = host.process?.env?.["SINAN_THREADS"];
  if (!asked) return Math.min(coreCount(), mostThreads);
  const count = Number(asked);
  if (isCount(count, mostThreads)) return count;
  throw new DeviceError(`cpu: SINAN_THREADS is a whole number from 1 to ${mostThreads}, got ${JSON.stringify(asked)}`);
}

/** Threads, as many memories as the machine has room for, and the options that bound them. */
export const parts: CpuParts = {
  dtypes: {
    i64: "native",
    f16: "emulated",
    bf16: "emulated",
    q8_0: "emulated",
    q4_0: "emulated",
    q4_k: "emulated",
  },
  optionsOf,
  threadCount,
  memoryBytes,
  newSharedMemory,
  canShare: () => typeof SharedArrayBuffer === "function" && probe(threads),
  workersOf,
  across,
  gather,
  runFirst,
  changes,
  tierCalled,
  firstTier,
};
