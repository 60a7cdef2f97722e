/** Ctrl-C and SIGTERM as an `AbortSignal`: the first asks to stop, which the loop does between two steps; the second ends the process.
 *  SIGTERM, which a machine sends before it takes the process away, has a deadline. */
import process from "node:process";

/** The exit code of a program that was interrupted: 128 + SIGINT, as shells have it. */
export const interrupted = 130;
/** And of one that was terminated: 128 + SIGTERM. */
const terminated = 143;

/** One Ctrl-C may come twice: from the terminal, and again from npm, which hands on what it was sent. */
const sameKeyMs = 300;

/** How long a process that was told to end may take. */
export interface InterruptOptions {
  /** How long after SIGTERM the process may still take. Default 20: schedulers of containers wait for 30. */
  readonly deadlineSeconds?: number;
}

/** Ctrl-C, listened for. */
export interface Interrupt {
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** What to exit with: 130, or 143 after SIGTERM. */
  exitCode(): number;
  /** Gives the signals back. */
  release(): void;
}

/** Listens for SIGINT and SIGTERM until released.
 *
 *  @param say  told, in words, that the program is about to stop, and that its time is over */
export function onInterrupt(
  say: (message: string) => void,
  { deadlineSeconds = 20 }: InterruptOptions = {},
): Interrupt {
  const controller = new AbortController();
  let first = 0;
  let code = interrupted;
  let deadline: ReturnType<typeof setTimeout> | undefined;
  const handle = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) {
      if (performance.now() - first > sameKeyMs) process.exit(code);
      return;
    }
    first = performance.now();
    if (name === "SIGTERM") {
      code = terminated;
      deadline = setTimeout(() => {
        say(`${deadlineSeconds} s after SIGTERM the step is not done and saved: ending; the last checkpoint is whole`);
        process.exit(code);
      }, deadlineSeconds * 1000).unref();
    }
    controller.abort();
    say(
      name === "SIGTERM"
        ? `SIGTERM: stopping after this step, within ${deadlineSeconds} s`
        : "stopping after this step; Ctrl-C again to end at once",
    );
  };
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, handle);
  return {
    signal: controller.signal,
    exitCode: () => code,
    release() {
      clearTimeout(deadline);
      for (const name of ["SIGINT", "SIGTERM"] as const) process.off(name, handle);
    },
  };
}
