/** What only a new process shows: programs run in processes of their own, each printing one line of JSON. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = new URL("../..", import.meta.url);

/** What a program, named from the root of the repository, prints. */
export async function cold<T>(program: string, ...args: readonly (string | number)[]): Promise<T> {
  const { stdout } = await run(process.execPath, [program, ...args.map(String)], { cwd: root, encoding: "utf8" });
  return JSON.parse(stdout) as T;
}
