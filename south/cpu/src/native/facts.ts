/** What the operating system says of the processor's caches. */

import { readFileSync } from "node:fs";
import type { MemoryLevel } from "sinan/south";

const places = [
  { name: "l1", index: 0 },
  { name: "l2", index: 2 },
  { name: "l3", index: 3 },
] as const;

const units: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, "": 1 };

/** The caches as Linux lists them; those of `otherwise` where it does not. */
export function cacheLevels(otherwise: readonly MemoryLevel[]): readonly MemoryLevel[] {
  return otherwise.map((level) => {
    const place = places.find(({ name }) => name === level.name);
    if (!place) return level;
    try {
      const text = readFileSync(`/sys/devices/system/cpu/cpu0/cache/index${place.index}/size`, "latin1").trim();
      const [, count, unit = ""] = /^(\d+)([KM]?)$/.exec(text) ?? [];
      const bytes = Number(count) * (units[unit] ?? Number.NaN);
      return Number.isSafeInteger(bytes) && bytes > 0 ? { ...level, bytes } : level;
    } catch {
      return level;
    }
  });
}
