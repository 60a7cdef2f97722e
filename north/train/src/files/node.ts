/** `Files` over node:fs. Each write is followed by fsync and each change of a directory can be made durable, so a
 *  checkpoint survives power loss as far as the disk tells the truth. */

import type { Stats } from "node:fs";
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { fileError, type Files } from "sinan";
import { lockFile } from "./lock.ts";
import { nativeSha256 } from "./native-sha256.ts";
import { attempt, codeOf } from "./system-error.ts";

/** The most that one system call is asked for; Linux itself stops at 2 GiB. */
const pieceBytes = 1 << 28;

/** Files that are open. Node ends a program that leaves one to the garbage collector, so those that nobody closes stay open. */
const notClosed = new Set<FileHandle>();

/** The file system of this machine. Relative paths start at the working directory; errors name the path as it was given. */
export function nodeFiles(): Files {
  return {
    async read(path) {
      return using(path, "read", "r", async (file) => {
        const info = await file.stat();
        // A pipe or device has no size: read to its end.
        if (!info.isFile()) return new Uint8Array(await file.readFile());
        return fill(file, path, 0, info.size);
      });
    },
    readRange(path, offset, length) {
      return using(path, "read", "r", async (file) => {
        // Checked first, so that a wrong length from a hostile file does not allocate.
        const { size } = await file.stat();
        if (offset + length > size) throw fileError(`read ${length} bytes at ${offset} of`, path, "EOF");
        return fill(file, path, offset, length);
      });
    },
    open: (path) =>
      attempt("open", path, async () => {
        const file = await open(path, "r");
        notClosed.add(file);
        const { size } = await file.stat();
        return {
          size,
          read: (offset, length) =>
            attempt("read", path, () => {
              if (offset + length > size) throw fileError(`read ${length} bytes at ${offset} of`, path, "EOF");
              return fill(file, path, offset, length);
            }),
          close: () => {
            notClosed.delete(file);
            return attempt("close", path, () => file.close());
          },
        };
      }),
    write(path, chunks) {
      return using(path, "write", "w", async (file) => {
        for await (const chunk of chunks) {
          for (let at = 0; at < chunk.length; ) {
            const { bytesWritten } = await file.write(chunk, at, Math.min(pieceBytes, chunk.length - at));
            at += bytesWritten;
          }
        }
        await syncIfPossible(file);
      });
    },
    rename: (from, to) => attempt(`rename to ${to}:`, from, () => rename(from, to)),
    remove: (path) => attempt("remove", path, () => rm(path, { recursive: true, force: true })),
    list: (path) => attempt("list", path, async () => (await readdir(path)).sort()),
    async mkdir(path) {
      const first = await attempt("create the directory", path, () => mkdir(path, { recursive: true }));
      if (first === undefined) return;
      // From the new directory's parent up to the parent of the first that was missing.
      const top = dirname(resolve(first));
      for (let directory = dirname(resolve(path)); ; directory = dirname(directory)) {
        await fsyncDirectory(directory);
        if (directory === top || directory === dirname(directory)) break;
      }
    },
    exists: (path) => attempt("look at", path, async () => (await statOf(path)) !== undefined),
    stat: (path) =>
      attempt("look at", path, async () => {
        const info = await stat(path);
        return {
          kind: info.isDirectory() ? ("directory" as const) : ("file" as const),
          size: info.isFile() ? info.size : 0,
          modified: info.mtimeMs,
        };
      }),
    fsyncDirectory,
    sha256: nativeSha256,
    lock: (path) => attempt("lock", path, () => lockFile(path)),
  };
}

async function fill(file: FileHandle, path: string, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const { bytesRead } = await file.read(bytes, at, Math.min(pieceBytes, length - at), offset + at);
    if (bytesRead === 0) throw fileError(`read ${length} bytes at ${offset} of`, path, "EOF");
    at += bytesRead;
  }
  return bytes;
}

async function fsyncDirectory(path: string): Promise<void> {
  if (process.platform === "win32") return; // NTFS journals its directories, and they cannot be opened as files
  await using(path, "fsync the directory", "r", syncIfPossible);
}

/** A pipe or a terminal cannot be synced, and some network file systems refuse it for directories. */
async function syncIfPossible(file: FileHandle): Promise<void> {
  try {
    await file.sync();
  } catch (error) {
    if (codeOf(error) !== "EINVAL" && codeOf(error) !== "ENOTSUP") throw error;
  }
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/** Opens, works, closes; the error of the work wins over that of closing. */
function using<T>(path: string, action: string, flags: "r" | "w", work: (file: FileHandle) => Promise<T>): Promise<T> {
  return attempt(action, path, async () => {
    const file = await open(path, flags);
    let result: T;
    try {
      result = await work(file);
    } catch (error) {
      await file.close().catch(() => undefined);
      throw error;
    }
    await file.close();
    return result;
  });
}
