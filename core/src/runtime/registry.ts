/** What is plugged in: drivers, codegens and engines by name. A south package registers itself when it is imported;
 *  `sinan/auto` imports the ones it knows. */
import { DeviceError } from "../errors.ts";
import type { Codegen, Driver, GraphEngine } from "./driver.ts";
import type { HardwareModel } from "./hardware.ts";

/** What a chip's package registers. */
export type Plugin = { readonly driver: Driver } | { readonly codegen: Codegen } | { readonly engine: GraphEngine };

const drivers = new Map<string, Driver>();
const codegens = new Map<string, Codegen>();
const engines = new Map<string, GraphEngine>();

/** Adds a driver, a codegen or an engine; one of the same name is replaced. */
export function register(...plugins: readonly Plugin[]): void {
  for (const plugin of plugins) {
    if ("driver" in plugin) drivers.set(plugin.driver.name, plugin.driver);
    else if ("codegen" in plugin) codegens.set(plugin.codegen.name, plugin.codegen);
    else engines.set(plugin.engine.name, plugin.engine);
  }
}

export const isRegistered = (driver: string): boolean => drivers.has(driver);

/** @throws DeviceError naming what there is */
export function driverNamed(name: string): Driver {
  const driver = drivers.get(name);
  if (driver) return driver;
  throw new DeviceError(`no driver is called ${JSON.stringify(name)}`, {
    hint: `known: ${[...drivers.keys()].sort().join(", ") || "none"}; import the package that registers it`,
  });
}

/** The first of the hardware's codegens that somebody registered.
 *  @throws DeviceError if nobody did */
export function codegenFor(hardware: HardwareModel): Codegen {
  for (const name of hardware.codegens) {
    const codegen = codegens.get(name);
    if (codegen) return codegen;
  }
  throw new DeviceError(
    `${hardware.id} takes code of ${hardware.codegens.join(" or ")}, and no such code generator is registered`,
  );
}

/** All devices of all drivers, available or not. */
export async function probeAll(): Promise<HardwareModel[]> {
  const found = await Promise.all([...drivers.values()].map((d) => d.probe()));
  return found.flat().sort((a, b) => (a.id < b.id ? -1 : 1));
}
