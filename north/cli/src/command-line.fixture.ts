/** Command lines one after the other in one process, for tests that ask what a command does and not how a process ends: `inOneProcess`
 *  starts this file, which catches what each command writes and gives it what it reads. */
import { fork } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { runCommandLine } from "./command-line.ts";

interface Asked {
  readonly id: number;
  readonly cwd: string;
  readonly args: readonly string[];
  readonly input: string;
}

export interface Ended {
  /** Null of a process that was killed. */
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Starts the process. Commands that are asked for at once wait for each other. */
export function inOneProcess(env: NodeJS.ProcessEnv) {
  const child = fork(fileURLToPath(import.meta.url), {
    env,
    execArgv: [],
    stdio: ["ignore", "ignore", "pipe", "ipc"], // no terminal, whatever the tests have
  });
  child.stderr?.pipe(process.stderr);
  const waiting = new Map<number, (ended: Ended) => void>();
  child.on("message", (message) => {
    const { id, ...ended } = message as Ended & { id: number };
    waiting.get(id)?.(ended);
    waiting.delete(id);
  });
  let last = 0;
  return {
    run: (cwd: string, args: readonly string[], input = ""): Promise<Ended> =>
      new Promise((resolve, reject) => {
        const asked: Asked = { id: ++last, cwd, args, input };
        waiting.set(asked.id, resolve);
        child.once("exit", (code) => reject(new Error(`sinan ${args.join(" ")}: the process ended with ${code}`)));
        child.setMaxListeners(0);
        child.send(asked);
      }),
    async close(): Promise<void> {
      const exit = once(child, "exit");
      child.disconnect();
      await exit;
    },
  };
}

async function caught({ cwd, args, input }: Asked): Promise<Ended> {
  const said = { out: "", err: "" };
  const { stdout, stderr } = process;
  const writes = { out: stdout.write.bind(stdout), err: stderr.write.bind(stderr) };
  const into = (name: "out" | "err") => (piece: string | Uint8Array) => {
    said[name] += typeof piece === "string" ? piece : Buffer.from(piece).toString();
    return true;
  };
  Object.defineProperty(process, "stdin", { value: Readable.from([Buffer.from(input)]), configurable: true });
  stdout.write = into("out");
  stderr.write = into("err");
  process.chdir(cwd);
  try {
    const code = await runCommandLine(args);
    return { code, ...said };
  } finally {
    stdout.write = writes.out;
    stderr.write = writes.err;
  }
}

if (import.meta.main) {
  let before: Promise<unknown> = Promise.resolve();
  process.on("message", (message) => {
    const asked = message as Asked;
    before = before.then(async () => process.send?.({ id: asked.id, ...(await caught(asked)) }));
  });
}
