/** What the cache asks of a file system: functions of node:fs, which a test may give faults. Lookups are synchronous, as a warm start
 *  is made of a few dozen of them and each would wait for the thread pool otherwise; only what waits for the disk is not. */
import fs from "node:fs";

/** Functions of node:fs, under their names. */
export type FileLayer = Pick<
  typeof fs,
  | "chmodSync"
  | "closeSync"
  | "fstatSync"
  | "fsync"
  | "futimesSync"
  | "lstatSync"
  | "mkdirSync"
  | "mkdtempSync"
  | "openSync"
  | "readFileSync"
  | "readdirSync"
  | "realpathSync"
  | "renameSync"
  | "rmSync"
  | "writeFileSync"
>;

/** This machine's files. */
export const systemFiles: FileLayer = fs;

/** The system's code of an error, `ENOENT`. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** The system's words for an error, without the call and the path: "no space left on device (ENOSPC)". */
export function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = codeOf(error);
  const [first = ""] = error.message.split("\n");
  const words = first.replace(/^[A-Z]\w*: /, "").replace(/, \w+( '.*)?$/, "");
  return code === undefined ? words : `${words} (${code})`;
}

/** Flushes a file, or the entries of a directory, to the medium; where the file system knows no such thing, does nothing. */
export async function flush(files: FileLayer, path: string, directory = false): Promise<void> {
  if (directory && process.platform === "win32") return; // NTFS journals its directories, and they cannot be opened as files
  // Windows flushes only what is open for writing.
  const file = files.openSync(path, process.platform === "win32" ? "r+" : "r");
  try {
    await new Promise<void>((done, failed) => {
      files.fsync(file, (error) => {
        const code = codeOf(error);
        if (error === null || code === "EINVAL" || code === "ENOTSUP") done();
        else failed(error);
      });
    });
  } finally {
    files.closeSync(file);
  }
}
