/** The south packages that are tried when a device is first needed: an explicit list, never a scan. One that is not installed
 *  is passed over; one that is there and fails to load says so. */
import { DeviceError } from "./errors.ts";
import { interpreterDriver } from "./interpreter/driver.ts";
import { graphCodegen } from "./interpreter/codegen.ts";
import { register } from "./runtime/registry.ts";

export const packages: readonly string[] = ["@sinan/cpu", "@sinan/sim"];

let loading: Promise<void> | null = null;

/** Imports them all, once. */
export function loadAll(): Promise<void> {
  register({ driver: interpreterDriver }, { codegen: graphCodegen });
  if (loading) return loading;
  register({ driver: interpreterDriver }, { codegen: graphCodegen });
  loading = Promise.all(packages.map(load)).then(() => {});
  return loading;
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
