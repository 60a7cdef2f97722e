/** One thing in the cache is one file whose name says everything of it: `NAME.KEY.SUM.so`, the key of what it was made from and the
 *  SHA-256 of its bytes. So it appears whole by a single rename, and is read only if it is this user's own and has that sum. It lies in one
 *  of 256 folders, `KE/NAME.KEY.SUM.so`: who looks for it reads few other names, however many years the cache is of. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import path from "node:path";
import process from "node:process";
import type { FileLayer } from "./file-layer.ts";

/** The form of entries and of what their keys are made of; another number finds none of the others. */
const format = 1;

/** What an entry's name says. */
export interface EntryName {
  /** For people and profilers: letters, digits, `_` and `-`. */
  readonly name: string;
  /** Of what it was made from, see `keyOf`. */
  readonly key: string;
  /** SHA-256 of the content. */
  readonly sum: string;
  /** Without the dot. */
  readonly extension: string;
}

const pattern = /^([\w-]{1,64})\.([0-9a-f]{40})\.([0-9a-f]{64})\.(so|dylib|dll|json)$/;

const folderOf = (key: string): string => key.slice(0, 2);

/** Whether a folder of the cache is one of entries. */
export const isFolder = (name: string): boolean => /^[0-9a-f]{2}$/.test(name);

/** Where it lies in the cache. */
export const entryFile = ({ name, key, sum, extension }: EntryName): string =>
  path.join(folderOf(key), `${name}.${key}.${sum}.${extension}`);

/** @returns undefined for files that are not the cache's */
export function parseEntry(file: string): EntryName | undefined {
  const [, name = "", key = "", sum = "", extension = ""] = pattern.exec(file) ?? [];
  return name === "" ? undefined : { name, key, sum, extension };
}

/** The key of what is made from these parts: equal for parts whose JSON is equal. */
export const keyOf = (...parts: readonly unknown[]): string => sumOf(JSON.stringify([format, ...parts])).slice(0, 40);

/** SHA-256, in hexadecimal digits. */
export const sumOf = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");

/** More than any object has; what is larger is not read. */
const mostBytes = 2 ** 28;

/** A file's bytes, if it is a file of this user's that nobody else may write to, and they have the sum. It counts as used now.
 *  @returns undefined where it is not */
export function readEntry(files: FileLayer, file: string, sum: string): Uint8Array | undefined {
  try {
    // A link is refused; a pipe does not wait for a writer.
    const opened = files.openSync(file, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
    try {
      const info = files.fstatSync(opened);
      const uid = process.getuid?.();
      if (!info.isFile() || info.size > mostBytes) return undefined;
      if (uid !== undefined && (info.uid !== uid || (info.mode & 0o022) !== 0)) return undefined;
      const bytes = files.readFileSync(opened);
      if (sumOf(bytes) !== sum) return undefined;
      markUsed(files, opened);
      return bytes;
    } finally {
      files.closeSync(opened);
    }
  } catch {
    return undefined;
  }
}

function markUsed(files: FileLayer, opened: number): void {
  const now = new Date();
  try {
    files.futimesSync(opened, now, now);
  } catch {
    // A read-only file system: nothing is removed there either.
  }
}

/** A file and the sum that it has if it is whole. */
export interface Candidate {
  readonly file: string;
  readonly sum: string;
}

/** The entries of a cache that have this key. */
export function entriesOf(files: FileLayer, directory: string, key: string): Candidate[] {
  const folder = path.join(directory, folderOf(key));
  try {
    return files.readdirSync(folder).flatMap((name) => {
      const entry = name.includes(key) ? parseEntry(name) : undefined;
      return entry?.key === key ? [{ file: path.join(folder, name), sum: entry.sum }] : [];
    });
  } catch {
    return []; // nothing was ever kept in it
  }
}
