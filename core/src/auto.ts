/** Which package has which driver: an explicit list, never a scan. A package is imported when its driver is first asked for, so
 *  that a program waits for none that it does not use. One that is not installed is passed over; one that is there and fails
 *  to load says so. */
import { DeviceError } from "./errors.ts";

/** Which package drives a device of that name. */
export const packages: Readonly<Record<string, string>> = {
  cpu: "@sinan/cpu",
  sim: "@sinan/sim",
  interpreter: "sinan/interpreter",
};

const loading = new Map<string, Promise<void>>();

/** Imports the package of a driver, once; all of them for a name that the list has not. */
export function loadDriver(name: string): Promise<void> {
  const from = Object.hasOwn(packages, name) ? packages[name] : undefined;
  if (from === undefined) return loadAll();
  let known = loading.get(from);
  if (!known) loading.set(from, (known = load(from)));
  return known;
}

/** Imports them all, once. */
export async function loadAll(): Promise<void> {
  await Promise.all(Object.keys(packages).map(loadDriver));
}

async function load(name: string): Promise<void> {
  try {
    await import(name);
  } catch (cause) {
    if (isMissing(cause, name)) return;
    throw new DeviceError(`the package ${name} is installed but does not load: ${String(cause)}`, { cause });
  }
}

/** Node, Bun, Deno and browsers each say "not there" in their own words; all name the package. */
const isMissing = (cause: unknown, name: string): boolean => {
  const { code, message } = cause as { code?: unknown; message?: unknown };
  return (
    code === "ERR_MODULE_NOT_FOUND" ||
    code === "MODULE_NOT_FOUND" ||
    (cause instanceof TypeError && String(message).includes(name))
  );
};
