/** Failures that nobody read. Work on a device fails after its caller has returned, so the error waits in the outputs; if
 *  the process ends before anyone reads them, the exit code must still say so. A page does not end so: there a failure is
 *  reported when the last output that carries it is gone. */
import { SinanError } from "../errors.ts";

/** The little of Node's `process` that is used where it exists. */
interface Process {
  exitCode?: number | string | null | undefined;
  on(event: "exit", listener: () => void): unknown;
}

const host = globalThis as { readonly process?: Partial<Process>; readonly reportError?: (e: unknown) => void };

const unread = new Set<Failure>();
let watching = false;

/** Weak until it is read, since a device remembers causes for long. */
const known = new WeakMap<object, { deref(): Failure | undefined }>();

const lost = new FinalizationRegistry<string>((text) =>
  host.reportError?.(new SinanError(`a failure that nobody read: ${text}`)),
);

export class Failure {
  readonly error: SinanError;
  readonly #cause: unknown;
  #read = false;

  constructor(cause: unknown) {
    this.error = cause instanceof SinanError ? cause : new SinanError(`the device failed: ${String(cause)}`, { cause });
    this.#cause = cause;
    flatten(cause);
    if (host.process?.on) {
      unread.add(this);
      watch(host.process as Process);
    } else {
      // The text alone: the error would keep the failure from being collected.
      lost.register(this, String(this.error), this);
    }
  }

  /** The error, to be thrown to somebody who asked. */
  get(): SinanError {
    if (!this.#read) {
      this.#read = true;
      unread.delete(this);
      lost.unregister(this);
      if (isObject(this.#cause)) known.set(this.#cause, { deref: () => this });
    }
    return this.error;
  }
}

/** Makes text of the stacks: until then V8 keeps each function on them, and with the functions the outputs of the step. */
function flatten(cause: unknown): void {
  for (let error = cause; error instanceof Error; error = error.cause) void error.stack;
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

/** The failure of a cause. One cause reaches many buffers, and who has read it in one of them has read it. */
export function failureOf(cause: unknown): Failure {
  if (!isObject(cause)) return new Failure(cause);
  const before = known.get(cause)?.deref();
  if (before) return before;
  const failure = new Failure(cause);
  known.set(cause, new WeakRef(failure));
  return failure;
}

function watch(process: Process): void {
  if (watching) return;
  watching = true;
  process.on("exit", () => {
    if (unread.size === 0) return;
    for (const { error } of unread) console.error(`sinan: a failure that nobody read: ${error.stack ?? error.message}`);
    if (!process.exitCode) process.exitCode = 1;
  });
}
