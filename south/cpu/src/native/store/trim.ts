/** Keeps the cache within its bound: entries that were not used for longest go first, and what killed programs left behind goes too.
 *  Nothing but the cache's own files is touched, wherever its directory lies. */
import path from "node:path";
import process from "node:process";
import { isFolder, parseEntry } from "./entries.ts";
import { codeOf, type FileLayer } from "./file-layer.ts";

/** Of the bound, what is left when it was passed: a cache that is full is not looked at in whole at each build. */
const kept = 7 / 8;

/** If there are more than `bytes`, removes entries until an eighth of that is free, or only those in use are left. */
export function trim(files: FileLayer, directory: string, bytes: number, inUse: ReadonlySet<string>): void {
  let total = 0;
  for (const { size } of entriesIn(files, directory)) total += size; // first without holding on to any of thousands
  if (total <= bytes) return;
  for (const { file, size } of [...entriesIn(files, directory)].sort((a, b) => a.used - b.used)) {
    if (total <= bytes * kept) break;
    if (inUse.has(file)) continue;
    if (remove(files, file)) total -= size;
  }
}

interface Sized {
  readonly file: string;
  readonly size: number;
  readonly used: number;
}

/** The entries of all folders, and those that versions without folders left beside them. */
function* entriesIn(files: FileLayer, directory: string): Generator<Sized> {
  const folders = files.readdirSync(directory).filter(isFolder);
  for (const folder of [directory, ...folders.map((name) => path.join(directory, name))])
    for (const name of namesIn(files, folder)) if (parseEntry(name)) yield* sized(files, path.join(folder, name));
}

function namesIn(files: FileLayer, folder: string): string[] {
  try {
    return files.readdirSync(folder);
  } catch {
    return []; // it is called like a folder of entries, and is none
  }
}

function sized(files: FileLayer, file: string): Sized[] {
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
