/** What only a new process shows: programs run in processes of their own, each printing one line of JSON. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);
const root = new URL("../..", import.meta.url);

/** What a program, named from the root of the repository, prints. */
export const cold = <T>(program: string, ...args: readonly (string | number)[]): Promise<T> =>
  coldIn<T>({}, program, ...args);

/** The same under some variables beside those of this process. */
export async function coldIn<T>(
  variables: Readonly<Record<string, string>>,
  program: string,
  ...args: readonly (string | number)[]
): Promise<T> {
  const env = { ...process.env, ...variables };
  const { stdout } = await run(process.execPath, [program, ...args.map(String)], { cwd: root, encoding: "utf8", env });
  return JSON.parse(stdout) as T;
}
