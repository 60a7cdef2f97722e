/** Kernels whose buffers lie in several memories: modules that import all of them, made when they are first asked for. */

import { DeviceError } from "sinan/south";
import type { Across, Instance, Kernel } from "./kernels.ts";

interface Made {
  /** By the numbers of each buffer's arena. */
  readonly instances: Map<string, Instance>;
  /** By the memory of each buffer. */
  readonly modules: Map<string, { readonly module: WebAssembly.Module; readonly code: Uint8Array<ArrayBuffer> }>;
}

const made = new WeakMap<Kernel, Made>();

export const across: Across = (kernels, kernel, arenas) => {
  const { instances, modules } = made.get(kernel) ?? { instances: new Map(), modules: new Map() };
  made.set(kernel, { instances, modules });
  const key = arenas.map(({ index }) => index).join();
  const known = instances.get(key);
  if (known) return known;
  const distinct = [...new Set(arenas)];
  const { module, code } = moduleFor(
    kernel,
    modules,
    arenas.map((arena) => distinct.indexOf(arena)),
  );
  const instance = kernels.instantiate(module, code, distinct);
  instances.set(key, instance);
  return instance;
};

function moduleFor({ apart }: Kernel, modules: Made["modules"], spaces: readonly number[]) {
  const key = spaces.join();
  const known = modules.get(key);
  if (known) return known;
  const code = apart?.(spaces);
  if (code === undefined || typeof code === "string") throw new DeviceError("there is no code for it");
  const module = { module: new WebAssembly.Module(code), code };
  modules.set(key, module);
  return module;
}
