/** Foreign functions: shared objects, the addresses of what they export, and where memory lies in the process. By koffi, where the program has
 *  installed it; it is looked for when a device is opened, and nothing is loaded before. */

import { DeviceError } from "sinan/south";

/** Why something cannot be had here, in one line. */
export interface Refusal {
  readonly reason: string;
}

/** A function of a shared object. `async` calls it on another thread, which keeps the process alive until the function is told. */
export interface Foreign {
  (...values: readonly number[]): number;
  readonly async: (...values: readonly [...number[], (error: unknown, result: number) => void]) => void;
}

/** A shared object. It stays loaded as long as the program runs: addresses of its functions are numbers, which hold nothing. */
export interface Library {
  readonly path: string;
  /** Where a symbol is. @throws DeviceError if there is none of that name */
  symbol(name: string): number;
  /** A function by its C declaration, whose types are numbers; an address is a `uintptr_t`. */
  function(declaration: string): Foreign;
}

export interface Ffi {
  /** Whose it is, with its version. */
  readonly name: string;
  /** Loads a shared object. @throws DeviceError if the system refuses it */
  open(path: string): Library;
  /** Where a view's first byte is: for as long as its buffer is neither resized nor detached, and of a small view that V8 keeps among its
   *  objects, only until the next collection of garbage. */
  addressOf(view: ArrayBufferView): number;
  /** Where a memory begins. It stays there when it grows: shared ones by what they are, others because V8 reserves all that they may
   *  grow to when it makes them. */
  baseOf(memory: WebAssembly.Memory): number;
}

interface KoffiLibrary {
  symbol(name: string): bigint;
  func(declaration: string): Foreign;
}

/** What of koffi is used. */
interface Koffi {
  readonly version: string;
  load(path: string): KoffiLibrary;
  address(view: ArrayBufferView): bigint;
  config(settings: Readonly<Record<string, number>>): unknown;
}

interface Host {
  readonly process?: {
    readonly argv?: readonly string[];
    readonly getBuiltinModule?: (name: string) => unknown;
  };
}

interface Modules {
  createRequire(from: string): (name: string) => unknown;
}

/** The stack of calls on the calling thread: kernels keep packed panels on it. */
const stackBytes = 8 * 2 ** 20;
const leastVersion = 3;

/** Finds what calls foreign functions. Downloads and builds nothing. */
export function findFfi(): Promise<Ffi | Refusal> {
  return Promise.resolve(found ?? (found = look()));
}

let found: Ffi | Refusal | undefined;

function look(): Ffi | Refusal {
  const { process } = globalThis as Host;
  const modules = process?.getBuiltinModule?.("node:module") as Modules | undefined;
  if (!process || !modules?.createRequire)
    return { reason: "foreign functions need Node, Bun or Deno: this is none of them" };
  let cause: unknown;
  // From where this package is, and, if a bundle does not say that, from where the program is: never from where it happens to run.
  for (const from of [import.meta.url, process.argv?.[1]]) {
    if (from === undefined) continue;
    try {
      return ffiOf(modules.createRequire(from)("koffi") as Koffi);
    } catch (error) {
      cause ??= error;
    }
  }
  const { code, message = "it is not known where the program is" } = (cause ?? {}) as {
    code?: string;
    message?: string;
  };
  return {
    reason:
      code === "MODULE_NOT_FOUND"
        ? "the package koffi is not installed: npm install koffi"
        : `the package koffi cannot be loaded: ${message.split("\n", 1)[0]}`,
  };
}

/** Shared objects that were loaded, which koffi would unload with the object that stands for them. */
const loaded = new Map<string, KoffiLibrary>();

function ffiOf(koffi: Koffi): Ffi | Refusal {
  const { version } = koffi;
  if (Number.parseInt(version, 10) < leastVersion)
    return { reason: `the package koffi is ${version}: ${leastVersion}.0.0 or later is needed` };
  try {
    koffi.config({ sync_stack_size: stackBytes });
  } catch {
    // The program has called functions by it before: the stack is what it was then, 2 MiB unless the program chose another.
  }
  const addressOf = (view: ArrayBufferView): number => Number(koffi.address(view));
  return {
    name: `koffi ${version}`,
    addressOf,
    baseOf: (memory) => addressOf(new Uint8Array(memory.buffer)),
    open(path) {
      const library = loaded.get(path) ?? load(koffi, path);
      loaded.set(path, library);
      return {
        path,
        symbol(name) {
          try {
            return Number(library.symbol(name));
          } catch (cause) {
            throw new DeviceError(`cpu: ${path} has no symbol ${name}`, { cause });
          }
        },
        function: (declaration) => library.func(declaration),
      };
    },
  };
}

function load(koffi: Koffi, path: string): KoffiLibrary {
  try {
    return koffi.load(path);
  } catch (cause) {
    throw new DeviceError(`cpu: the system does not load ${path}: ${(cause as Error).message}`, { cause });
  }
}
