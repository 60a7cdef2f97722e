/** Errors of the operating system, given the form of the others. */

import { fileError } from "sinan";

/** Turns a system error into a FileError; what is not one (a FileError already, a failing source of chunks) passes. */
export async function attempt<T>(action: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const isSystem = error instanceof Error && "syscall" in error;
    throw isSystem ? fileError(action, path, codeOf(error), error) : error;
  }
}

/** The system's code of an error, `ENOENT`. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
