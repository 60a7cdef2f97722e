/** Keeps the cache within its bound: entries that were not used for longest go first, and what killed programs left behind goes too.
 *  Nothing but the cache's own files is touched, wherever its directory lies. */
import path from "node:path";
import process from "node:process";
import { parseEntry } from "./entries.ts";
import { codeOf, type FileLayer } from "./file-layer.ts";

/** Removes entries until the rest has no more than `bytes`, or only those in use are left. */
export function trim(files: FileLayer, directory: string, bytes: number, inUse: ReadonlySet<string>): void {
  const entries = files
    .readdirSync(directory)
    .filter((name) => parseEntry(name) !== undefined)
    .flatMap((name) => sized(files, path.join(directory, name)));
  let total = entries.reduce((sum, { size }) => sum + size, 0);
  for (const { file, size } of entries.sort((a, b) => a.used - b.used)) {
    if (total <= bytes) break;
    if (inUse.has(file)) continue;
    if (remove(files, file)) total -= size;
  }
}

function sized(files: FileLayer, file: string): { file: string; size: number; used: number }[] {
  try {
    const { size, mtimeMs } = files.lstatSync(file);
    return [{ file, size, used: mtimeMs }];
  } catch {
    return []; // another process removed it
  }
}

function remove(files: FileLayer, file: string): boolean {
  try {
    files.rmSync(file, { recursive: true, force: true });
    return true;
  } catch {
    return false; // Windows keeps what a program has loaded
  }
}

const hour = 3_600_000;

/** Removes directories `PREFIX-PROCESS-…` of programs that are gone. Process numbers of other machines or containers, which
 *  may share the directory, say nothing, so only age makes it sure. */
export function sweep(files: FileLayer, directory: string, prefix: string): void {
  for (const name of files.readdirSync(directory)) {
    const process = name.startsWith(`${prefix}-`)
      ? /^(\d+)-\w{6}$/.exec(name.slice(prefix.length + 1))?.[1]
      : undefined;
    if (process === undefined) continue;
    const [entry] = sized(files, path.join(directory, name));
    const age = entry === undefined ? 0 : Date.now() - entry.used;
    if (entry && age > (isRunning(Number(process)) ? 24 * hour : hour)) remove(files, entry.file);
  }
}

function isRunning(id: number): boolean {
  try {
    process.kill(id, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM"; // somebody else's, so it runs
  }
}
