/** Failures that nobody read. Work on a device fails after its caller has returned, so the error waits in the outputs; if
 *  the process ends before anyone reads them, the exit code must still say so. */
import { SinanError } from "../errors.ts";

/** The little of Node's `process` that is used where it exists; a browser has none and reports at once. */
interface Process {
  exitCode?: number | string | null | undefined;
  on(event: "exit", listener: () => void): unknown;
}

const host = globalThis as { readonly process?: Partial<Process>; readonly reportError?: (e: unknown) => void };

const unread = new Set<Failure>();
let watching = false;

export class Failure {
  readonly error: SinanError;
  #read = false;

  constructor(cause: unknown) {
    this.error = cause instanceof SinanError ? cause : new SinanError(`the device failed: ${String(cause)}`, { cause });
    unread.add(this);
    watch();
  }

  /** The error, to be thrown to somebody who asked. */
  get(): SinanError {
    if (!this.#read) {
      this.#read = true;
      unread.delete(this);
    }
    return this.error;
  }
}

const known = new WeakMap<object, Failure>();

/** The failure of a cause. One cause reaches many buffers, and who has read it in one of them has read it. */
export function failureOf(cause: unknown): Failure {
  if (typeof cause !== "object" || cause === null) return new Failure(cause);
  const failure = known.get(cause) ?? new Failure(cause);
  known.set(cause, failure);
  return failure;
}

function watch(): void {
  if (watching) return;
  watching = true;
  const { process } = host;
  if (process?.on)
    process.on("exit", () => {
      if (unread.size === 0) return;
      for (const { error } of unread)
        console.error(`sinan: a failure that nobody read: ${error.stack ?? error.message}`);
      if (!process.exitCode) process.exitCode = 1;
    });
  else for (const { error } of unread) host.reportError?.(error);
}
