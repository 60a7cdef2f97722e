/** The packages of this repository and the entries that they export. */
import { globSync, readFileSync } from "node:fs";
import path from "node:path";

export const root = path.resolve(import.meta.dirname, "../..");

export interface PackageEntry {
  /** `sinan/nn` */
  readonly entry: string;
  /** `core/src/nn/index.ts` */
  readonly file: string;
  /** `core` */
  readonly home: string;
}

/** All entries of all packages that can be imported; commands have none. */
export function packageEntries(): PackageEntry[] {
  return globSync("{core,south/*,north/*}/package.json", { cwd: root })
    .sort()
    .flatMap((manifest) => {
      const home = path.posix.dirname(manifest.replaceAll("\\", "/"));
      const { name, exports = {} } = JSON.parse(readFileSync(path.join(root, manifest), "utf8")) as {
        name: string;
        exports?: Record<string, string | { readonly default: string }>;
      };
      return Object.entries(exports).map(([key, value]) => ({
        entry: path.posix.join(name, key),
        file: path.posix.join(home, typeof value === "string" ? value : value.default),
        home,
      }));
    });
}
