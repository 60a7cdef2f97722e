/** A user's program, run in this process as Node would run it, and what is to be done when it ends. */
import { statSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import type * as Explain from "sinan/explain";
import type * as Tune from "sinan/tune";

/** The whole path of a file; undefined where there is none. */
export function programAt(file: string): string | undefined {
  const whole = path.resolve(file);
  return statSync(whole, { throwIfNoEntry: false })?.isFile() ? whole : undefined;
}

interface Entries {
  readonly "sinan/explain": typeof Explain;
  readonly "sinan/tune": typeof Tune;
}

/** An entry of the Sinan that the program imports, which need not be this one's own. */
export async function sinanOf<E extends keyof Entries>(program: string, entry: E): Promise<Entries[E]> {
  let found: string | undefined;
  try {
    found = pathToFileURL(createRequire(program).resolve(entry)).href;
  } catch {
    // It has none of its own: whatever it does, this one's is there.
  }
  return (await import(found ?? import.meta.resolve(entry))) as Entries[E];
}

/** How a program ended: an exit code, and the error of its module, if that is why. */
export interface Ending {
  readonly code: number;
  readonly error?: unknown;
}

/** Runs a program until it has nothing more to do.
 *
 *  @param atExit  called where the process ends before that: by `process.exit`, an uncaught error or Ctrl-C. Only what is done at once
 *    is done */
export async function runToItsEnd(program: string, args: readonly string[], atExit: () => void): Promise<Ending> {
  process.argv = [process.argv[0] ?? "node", program, ...args];
  const idle = new Promise<void>((resolve) => process.once("beforeExit", () => resolve()));
  const interrupted = (): void => {
    // A program that listens for itself decides for itself.
    if (process.listenerCount("SIGINT") === 1) process.exit(130);
  };
  process.on("exit", atExit);
  process.on("SIGINT", interrupted);
  try {
    let isDone = false;
    const whole = import(pathToFileURL(program).href).then(() => {
      isDone = true;
    });
    // A module that waits for what never comes ends with the process, too.
    await Promise.race([whole, idle]);
    if (!isDone) return { code: 13, error: `${program}: it waits for what never comes` };
    await idle;
    return { code: Number(process.exitCode ?? 0) };
  } catch (error) {
    return { code: 1, error };
  } finally {
    process.off("exit", atExit);
    process.off("SIGINT", interrupted);
  }
}
