/** The kernels of a device: modules and their instances, one for each choice of the arenas in which the buffers of a launch
 *  lie. */

import { type Artifact, DeviceError, type Executable, type Region } from "sinan/south";
import type { Arena } from "./arena.ts";
import type { Arenas, CpuMemory } from "./arenas.ts";
import { math } from "./math.ts";
import { codegenName, memoryName } from "./wasm/render.ts";

type Run = (...args: readonly number[]) => void;

/** What is done one after another: so many iterations each, about so many operations; and these in all. */
export interface Parts {
  readonly all: readonly { readonly extent: number; readonly work: number }[];
  readonly work: number;
}

/** A kernel over the memories that its buffers lie in. */
export interface Instance {
  readonly id: number;
  readonly run: Run;
  readonly exports: WebAssembly.Instance["exports"];
  /** Whether it was never run on the calling thread. */
  isNew: boolean;
  readonly code: Uint8Array<ArrayBuffer>;
  readonly arenas: readonly Arena[];
  /** Where the workers find the code, once they were given it. */
  place: CpuMemory | undefined;
}

export interface Kernel {
  readonly code: Uint8Array<ArrayBuffer>;
  readonly module: WebAssembly.Module;
  readonly apart: Artifact["apart"];
  /** Once they were asked for. */
  parts: Parts | undefined;
  /** How many regions and scalars it takes. */
  readonly arity: number;
  /** By the number of the one arena. */
  readonly single: (Instance | undefined)[];
}

export class CpuExecutable implements Executable {
  readonly name: string;
  readonly kernel: Kernel;

  constructor(name: string, kernel: Kernel) {
    this.name = name;
    this.kernel = kernel;
  }
}

/** A launch as it is run: addresses and scalars of an instance. */
export interface Launch {
  readonly executable: CpuExecutable;
  readonly instance: Instance;
  readonly args: number[];
}

/** The id of copies and fills. */
export const noKernel = 0;

/** The instance of a kernel for buffers in these arenas, of which there are several. */
export type Across = (kernels: Kernels, kernel: Kernel, arenas: readonly Arena[]) => Instance;

export class Kernels {
  readonly #arenas: Arenas;
  readonly #across: Across | undefined;
  #last = noKernel;

  constructor(arenas: Arenas, across: Across | undefined) {
    this.#arenas = arenas;
    this.#across = across;
  }

  async load({ codegen, name, code, apart }: Artifact): Promise<Executable> {
    if (codegen !== codegenName || typeof code === "string")
      throw new DeviceError(
        `cpu: kernel ${name} is ${typeof code === "string" ? "text" : "code"} of ${codegen}; the device takes the bytes of ${codegenName}`,
      );
    return new CpuExecutable(name, await this.#compile(name, code.slice(), apart));
  }

  async #compile(name: string, code: Uint8Array<ArrayBuffer>, apart: Artifact["apart"]): Promise<Kernel> {
    try {
      const module = await WebAssembly.compile(code);
      const first = this.instantiate(module, code, this.#arenas.all.slice(0, 1));
      return { code, module, apart, parts: undefined, arity: first.run.length, single: [first] };
    } catch (cause) {
      throw new DeviceError(`cpu: kernel ${name} is refused: ${messageOf(cause)}`, { cause });
    }
  }

  /** @throws what the engine throws, where the module is not one of kernels */
  instantiate(module: WebAssembly.Module, code: Uint8Array<ArrayBuffer>, arenas: readonly Arena[]): Instance {
    const env = Object.fromEntries(arenas.map(({ memory }, n) => [memoryName(n), memory]));
    const { exports } = new WebAssembly.Instance(module, { env, math });
    const { run } = exports;
    if (typeof run !== "function") throw new DeviceError("it exports no function `run`");
    return { id: ++this.#last, run, exports, isNew: true, code, arenas, place: undefined };
  }

  /** @throws DeviceError if the executable or a region is of another device, or they do not fit together */
  launch(executable: Executable, regions: readonly Region[], scalars: readonly number[]): Launch {
    const own = ownExecutable(executable, regions.length, scalars.length);
    const args: number[] = [];
    let arena: Arena | undefined;
    let isApart = false;
    for (const region of regions) {
      const memory = this.#arenas.at(region);
      arena ??= memory.arena;
      isApart ||= memory.arena !== arena;
      args.push(memory.offset + region.offset);
    }
    for (const scalar of scalars) args.push(scalar);
    const instance =
      isApart && this.#across
        ? this.#across(
            this,
            own.kernel,
            regions.map((region) => this.#arenas.at(region).arena),
          )
        : this.#within(own.kernel, arena?.index ?? 0);
    return { executable: own, instance, args };
  }

  #within(kernel: Kernel, index: number): Instance {
    const arena = this.#arenas.all[index] as Arena;
    return (kernel.single[index] ??= this.instantiate(kernel.module, kernel.code, [arena]));
  }
}

function ownExecutable(executable: Executable, regions: number, scalars: number): CpuExecutable {
  if (!(executable instanceof CpuExecutable))
    throw new DeviceError(`cpu: kernel ${executable.name} was loaded by another device`);
  const { name, kernel } = executable;
  if (regions + scalars !== kernel.arity)
    throw new DeviceError(
      `cpu: kernel ${name} takes ${kernel.arity} regions and scalars, got ${regions} and ${scalars}`,
    );
  return executable;
}

export const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
