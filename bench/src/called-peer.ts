/** A peer program that stays and times one call when it is asked to, so that its calls and ours go in turn: what else the machine
 *  does, and what its clock is, is then the same for both. */
import { fork } from "node:child_process";
import path from "node:path";
import { absent, home, isInstalled, type Program } from "./peers.ts";

export interface CalledPeer {
  readonly name: string;
  readonly version: string;
  /** One call of a case. */
  call(of: string): Promise<Timed>;
  close(): void;
}

export interface Timed {
  readonly seconds: number;
  /** What the call gave, as a number to compare with ours. */
  readonly check: number;
}

/** Answers of the program, in the order of what it was asked: first who it is, then a `Timed` for each case. */
type Answer = { readonly name: string; readonly version: string } | Timed;

/** Null, with a word on standard error, where it is not installed or does not start. */
export async function calledPeer({ file, args, needs }: Program, folder = home): Promise<CalledPeer | null> {
  if (!isInstalled(needs, folder)) {
    absent(needs, "npm run peers");
    return null;
  }
  const child = fork(path.join(folder, file), [...args], { cwd: folder, stdio: ["ignore", "ignore", "pipe", "ipc"] });
  let complaint = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (complaint += text));
  const answer = (): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const ended = (): void => reject(new Error(`${needs}: the program ended: ${complaint.trim()}`));
      child.once("exit", ended);
      child.once("message", (message) => {
        child.off("exit", ended);
        resolve(message as Answer);
      });
    });
  const first = await answer().catch((error: unknown) => {
    console.error(`${needs} is not measured: ${String(error)}`);
    return null;
  });
  if (!first || !("name" in first)) return null;
  return {
    name: first.name,
    version: first.version,
    async call(of) {
      const answered = answer();
      child.send(of);
      const timed = await answered;
      if ("seconds" in timed) return timed;
      throw new TypeError(`${needs}: expected seconds of ${of}, got ${JSON.stringify(timed)}`);
    },
    close: () => child.disconnect(),
  };
}
