/** Of which program a text was made: the sources of the compiler, by their content. Two versions of it, or one that is being worked on, share a
 *  cache without ever taking the other's texts for their own. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const source = /^(?!.*\.(test|fixture|d)\.ts$).*\.[jt]s$/;

/** The hash of all sources that the text of a kernel comes of, and of the engine that they run on.
 *  @param own   the address of this file, which lies in `native` among the sources of the processor's package
 *  @param core  that of the file `south` of the core, among its sources
 *  @returns undefined where they are not files of their own, as in a bundle, and nothing can be said */
export function sourcesHash(own = import.meta.url, core?: string): string | undefined {
  try {
    const home = path.dirname(fileURLToPath(own));
    // Not every host resolves names, and a bundle may have none left.
    const entry = path.parse(fileURLToPath(core ?? import.meta.resolve("sinan/south")));
    if (path.parse(own).name !== "sources" || path.basename(home) !== "native" || entry.name !== "south")
      return undefined;
    const hash = createHash("sha256").update(process.version);
    for (const folder of [path.dirname(home), entry.dir]) addFolder(folder, hash);
    return hash.digest("hex");
  } catch {
    return undefined;
  }
}

function addFolder(folder: string, hash: ReturnType<typeof createHash>): void {
  const entries = readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const file = path.join(folder, entry.name);
    if (entry.isSymbolicLink()) throw new Error("a link may lead anywhere");
    if (entry.isDirectory()) {
      if (entry.name !== "node_modules") addFolder(file, hash);
    } else if (source.test(entry.name)) {
      const bytes = readFileSync(file);
      hash.update(`${entry.name} ${bytes.length} `).update(bytes);
    }
  }
}
