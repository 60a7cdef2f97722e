/** Where compilers may be: the one that `SINAN_CC` names, or else `cc`, `gcc` and `clang` on the path. */
import { accessSync, constants, existsSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import type { Environment } from "../store/private-directory.ts";

/** A program that may be a compiler. */
export interface Candidate {
  /** How it is called: its path as it was found, as some programs go by the name they are called by, and arguments. */
  readonly command: readonly [program: string, ...args: string[]];
  /** The program's real path. */
  readonly path: string;
  /** Paths, sizes and times of the files: other ones are another compiler. */
  readonly files: readonly (readonly [path: string, bytes: number, modified: number])[];
}

const usual = ["cc", "gcc", "clang"];

/** The candidates in their order, each program once.
 *  @returns none where `SINAN_CC` names no program: nothing else is taken in its place */
export function candidates(environment: Environment): Candidate[] {
  const own = environment["SINAN_CC"]?.trim();
  const found = (own ? [chosen(own, environment)] : usual.map((name) => candidate([name], environment))).filter(
    (one) => one !== undefined,
  );
  return found.filter((one, i) => found.findIndex(({ path }) => path === one.path) === i);
}

/** A program's path or name, or a command such as `ccache gcc`. */
const chosen = (text: string, environment: Environment): Candidate | undefined =>
  candidate([text], environment) ?? candidate(text.split(/\s+/), environment);

function candidate(words: readonly string[], environment: Environment): Candidate | undefined {
  const [name = "", ...args] = words;
  const program = locate(name, environment);
  if (program === undefined || isEmptyShim(program)) return undefined;
  // Of `ccache gcc` both programs count.
  const second = args[0] === undefined || args[0].startsWith("-") ? undefined : locate(args[0], environment);
  const files = [program, ...(second === undefined ? [] : [second])].map((file) => {
    const { size, mtimeMs } = statSync(file);
    return [realpathSync(file), size, mtimeMs] as const;
  });
  return { command: [program, ...args], path: files[0]?.[0] ?? program, files };
}

/** The program of that name; relative entries of the path do not count. */
function locate(name: string, environment: Environment): string | undefined {
  const endings = process.platform === "win32" ? ["", ".exe"] : [""];
  const places = /[/\\]/.test(name)
    ? [path.resolve(name)]
    : (environment["PATH"] ?? environment["Path"] ?? "")
        .split(path.delimiter)
        .filter((directory) => path.isAbsolute(directory))
        .map((directory) => path.join(directory, name));
  return places.flatMap((place) => endings.map((ending) => place + ending)).find(isProgram);
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/** On macOS /usr/bin/cc is there without a compiler, and opens a window when it is called. */
const isEmptyShim = (program: string): boolean =>
  process.platform === "darwin" &&
  program.startsWith("/usr/bin/") &&
  !["/var/db/xcode_select_link", "/Library/Developer/CommandLineTools", "/Applications/Xcode.app"].some((place) =>
    existsSync(place),
  );
