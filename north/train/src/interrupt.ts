/** Ctrl-C as an `AbortSignal`: the first asks to stop, which the loop does between two steps; the second ends the process. */
import process from "node:process";

/** The exit code of a program that was interrupted: 128 + SIGINT, as shells have it. */
export const interrupted = 130;

/** One Ctrl-C may come twice: from the terminal, and again from npm, which hands on what it was sent. */
const sameKeyMs = 300;

/** Ctrl-C, listened for. */
export interface Interrupt {
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** Gives the signals back. */
  release(): void;
}

/** Listens for SIGINT and SIGTERM until released.
 *
 *  @param onFirst  called at the first, to say that the program is about to stop */
export function onInterrupt(onFirst: () => void): Interrupt {
  const controller = new AbortController();
  let first = 0;
  const handle = (): void => {
    if (controller.signal.aborted) {
      if (performance.now() - first > sameKeyMs) process.exit(interrupted);
      return;
    }
    first = performance.now();
    controller.abort();
    onFirst();
  };
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, handle);
  return {
    signal: controller.signal,
    release() {
      for (const name of ["SIGINT", "SIGTERM"] as const) process.off(name, handle);
    },
  };
}
