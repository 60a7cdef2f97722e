/** `Files`, the only door from core to storage: a directory tree with the few operations from which durable, atomic
 *  replacement is built. `memoryFiles` and, in `@sinan/train`, `nodeFiles` are behind it. Paths are separated by "/". */

import { FileError } from "../errors.ts";
import type { RandomAccess } from "./safetensors.ts";
import type { Sha256 } from "./sha256.ts";

/** What is at a path, and its size. */
export interface FileStat {
  readonly kind: "file" | "directory";
  /** Bytes; 0 for a directory. */
  readonly size: number;
  /** When the content last changed, in milliseconds since 1970; null where that is not known. */
  readonly modified: number | null;
}

/** A file that was opened for reading. It stays what it was, also when another takes its name. */
export interface OpenFile extends RandomAccess {
  close(): Promise<void>;
}

/** What a file is written from; none is kept after the next was asked for. */
export type Chunks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** A lock that is held. */
export interface FileLock {
  release(): Promise<void>;
}

/** All methods reject with FileError, which has the path and the system's code. */
export interface Files {
  /** A whole file, in an array of its own that starts at byte 0 of its buffer. */
  read(path: string): Promise<Uint8Array>;
  /** Exactly `length` bytes from `offset`; a file that ends before is a FileError. */
  readRange(path: string, offset: number, length: number): Promise<Uint8Array>;
  /** A file to read from again and again, at any place. */
  open(path: string): Promise<OpenFile>;
  /** Creates the file or replaces its content, piece after piece, and resolves when the content is on the medium
   *  (fsync). The directory's entry is durable only after `fsyncDirectory`. A failed write leaves a partial file. */
  write(path: string, chunks: Chunks): Promise<void>;
  /** Moves a file or directory atomically; a file at `to` is replaced, a directory with entries is an error. Durable
   *  after `fsyncDirectory` of the parents. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, or a directory with all that is in it. Nothing there is not an error. */
  remove(path: string): Promise<void>;
  /** Names of the entries, sorted. */
  list(path: string): Promise<string[]>;
  /** Creates a directory and its missing parents, durably. A directory that is there is not an error. */
  mkdir(path: string): Promise<void>;
  exists(path: string): Promise<boolean>;
  stat(path: string): Promise<FileStat>;
  /** Makes the entries of a directory durable. */
  fsyncDirectory(path: string): Promise<void>;
  /** SHA-256 as the system has it, where that is faster than ours. */
  readonly sha256?: () => Sha256;
  /** Takes the lock of that name or rejects with code EEXIST if a live owner has it; that of a dead one is taken over. */
  lock(path: string): Promise<FileLock>;
}

/** Replaces a file so that a crash leaves either the old or the new content, whole: temporary name, fsync, rename, fsync of
 *  the directory. */
export async function replaceFile(files: Files, path: string, chunks: Chunks): Promise<void> {
  const temporary = `${path}.tmp-${Math.random().toString(36).slice(2)}`;
  try {
    await files.write(temporary, chunks);
    await files.rename(temporary, path);
  } catch (error) {
    await files.remove(temporary).catch(() => undefined); // the first error is the one that tells
    throw error;
  }
  await files.fsyncDirectory(parentPath(path));
}

/** A file of `files` as `openSafetensors` wants it. */
export async function randomAccess(files: Files, path: string): Promise<RandomAccess> {
  const { size } = await files.stat(path);
  return { size, read: (offset, length) => files.readRange(path, offset, length) };
}

/** The path of a name in a directory. */
export const joinPath = (directory: string, name: string): string =>
  directory.endsWith("/") ? directory + name : `${directory}/${name}`;

/** The directory that holds `path`: "." for a bare name, "/" at the root. */
export function parentPath(path: string): string {
  const trimmed = path.replace(/\/+$/, "");
  const slash = trimmed.lastIndexOf("/");
  if (slash < 0) return trimmed === "" ? "/" : ".";
  return trimmed.slice(0, slash).replace(/\/+$/, "") || "/";
}

/** The last part of a path. */
export function baseName(path: string): string {
  const trimmed = path.replace(/\/+$/, "");
  return trimmed.slice(trimmed.lastIndexOf("/") + 1);
}

const reasons: Readonly<Record<string, readonly [meaning: string, wayOut: string]>> = {
  ENOENT: ["there is no such file or directory", "Check the path, or create the directory above it."],
  EEXIST: ["it is already there", "Choose another name, or remove what is there."],
  ENOTDIR: ["a part of the path is a file, not a directory", "Check the path."],
  EISDIR: ["it is a directory", "Give the path of a file."],
  ENOTEMPTY: ["the directory is not empty", "Choose another name, or remove what is there."],
  EACCES: ["permission is denied", "Change the permissions of the directory, or choose another."],
  EPERM: ["the system does not permit it", "Change the owner or permissions of the directory, or choose another."],
  EROFS: ["the file system is read-only", "Choose a directory on a writable file system."],
  ENOSPC: ["no space is left on the device", "Free some space, or choose a directory on another device."],
  EDQUOT: ["the disk quota is used up", "Free some space, or choose a directory on another device."],
  EFBIG: ["the file would be larger than the system allows", "Choose a directory on another file system."],
  EMFILE: ["too many files are open", "Raise the limit of open files (ulimit -n)."],
  ENAMETOOLONG: ["the name is too long", "Choose a shorter path."],
  EIO: ["the device reports an error", "Check the device; what was written may be damaged."],
  EOF: ["the file ends too early", "The file is truncated: fetch or write it again."],
};

/** The error of a failed operation: what was tried, on which path, the system's code, the way out.
 *
 *  @param action  what failed, as a verb: "write", "rename to /x" */
export function fileError(action: string, path: string, code: string | undefined, cause?: unknown): FileError {
  const known = code === undefined ? undefined : reasons[code];
  const because = known?.[0] ?? (cause instanceof Error ? cause.message : "the reason is not known");
  const tail = code === undefined ? "" : ` (${code})`;
  return new FileError(`cannot ${action} ${path || '""'}: ${because}${tail}`, {
    path,
    ...(code === undefined ? {} : { code }),
    hint: known?.[1],
    cause,
  });
}
