/** Which of its tiers the processor makes kernels in: WebAssembly, which is everywhere and begins at once, or C that the system's compiler
 *  builds. Nothing here is loaded of the native tier before it is asked for. */

import { type Device, DeviceError } from "sinan/south";
import type { Tier, TierGround } from "./device.ts";

const host = globalThis as {
  readonly process?: {
    readonly versions?: { readonly node?: string };
    readonly env?: Readonly<Record<string, string | undefined>>;
  };
};

/** The names that a tier can be asked for by. */
const tierNames = ["auto", "wasm", "native"] as const;
type TierName = (typeof tierNames)[number];

const isTier = (name: string): name is TierName => (tierNames as readonly string[]).includes(name);

interface Native {
  readonly openNative: (ground: TierGround) => Promise<Tier | string>;
}

/** What SINAN_CPU says, or else "auto". @throws DeviceError if it says something else */
function askedTier(): TierName {
  const asked = host.process?.env?.["SINAN_CPU"] || "auto";
  if (isTier(asked)) return asked;
  throw new DeviceError(`cpu: SINAN_CPU is one of ${tierNames.join(", ")}, got ${JSON.stringify(asked)}`);
}

/** The tiers by the names that the device can be opened under. */
const names: ReadonlyMap<string, TierName> = new Map([
  ["cpu", "auto"],
  ["cpu:0", "auto"],
  ["cpu:wasm", "wasm"],
  ["cpu:native", "native"],
]);

/** The only tier that a device of that name has, or "auto"; undefined if there is none of that name. */
export const tierCalled = (id: string): string | undefined => names.get(id);

/** The tier in which a device begins: WebAssembly, unless the native one is asked for by name, as what it builds takes a while. */
export function firstTier(wanted: string): string {
  const asked = wanted === "auto" ? askedTier() : wanted;
  return asked === "auto" ? "wasm" : asked;
}

/** How a device changes its tier. */
export function changes(ground: TierGround): Device["changeTier"] {
  const { options, use } = ground;
  let tier: Promise<Tier | string> | undefined;
  return async (wanted, tell) => {
    const chosen = choose(wanted === "auto" ? options.tier : wanted);
    const found = chosen === "wasm" ? undefined : await (tier ??= open(ground));
    if (typeof found === "object") {
      if (tell) found.tell = tell;
      use(found);
      return { tier: "native" };
    }
    if (chosen === "native")
      throw new DeviceError(`cpu: the native tier cannot be had: ${found}`, {
        hint: "install a C compiler and the package koffi, or leave the tier to SINAN_CPU=auto",
      });
    use(undefined);
    return { tier: "wasm", ...(found && { reason: `the processor goes on in WebAssembly: ${found}` }) };
  };
}

/** @throws DeviceError for a tier that there is none of */
function choose(wanted: string): TierName {
  if (!isTier(wanted))
    throw new DeviceError(`cpu: its tiers are ${tierNames.join(", ")}, and ${JSON.stringify(wanted)} is none`);
  return wanted === "auto" ? askedTier() : wanted;
}

/** A string is why it cannot be had; empty where there is nothing to say. */
async function open(ground: TierGround): Promise<Tier | string> {
  // A page has no compiler, and misses none.
  if (host.process?.versions?.node === undefined) return "";
  // By a name that no bundler follows: nobody's page should download it.
  const native = (await import(["@sinan/cpu", "native"].join("/"))) as Native;
  return native.openNative(ground);
}
