/** Where what was compiled is kept between runs, and whether that place is this user's alone: code is loaded from it into the process,
 *  so a directory that somebody else could write to, or could put another in place of, is not used. */
import { homedir } from "node:os";
import path from "node:path";
import process from "node:process";
import { codeOf, type FileLayer, wordsOf } from "./file-layer.ts";

/** Variables of the environment. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** `SINAN_CACHE`, or `sinan/native` in the directory that the system has for caches. Relative paths of the environment are not
 *  taken, but for `SINAN_CACHE`'s. */
export function cachePath(environment: Environment, platform: NodeJS.Platform = process.platform): string {
  const own = environment["SINAN_CACHE"];
  if (own) return path.resolve(own);
  const absolute = (name: string): string | undefined => {
    const value = environment[name];
    return value && path.isAbsolute(value) ? value : undefined;
  };
  const home = absolute("HOME") ?? homedir();
  const bases: Partial<Record<NodeJS.Platform, string>> = {
    win32: absolute("LOCALAPPDATA") ?? path.join(home, "AppData", "Local"),
    darwin: path.join(home, "Library", "Caches"),
  };
  const base = bases[platform] ?? absolute("XDG_CACHE_HOME") ?? path.join(home, ".cache");
  return path.join(base, "sinan", "native");
}

/** A directory that is this user's alone, or why it is not to be used. */
export type PrivateDirectory = { readonly path: string } | { readonly fault: string };

/** Makes the directory (0700) and its missing parents, and looks at it and at all that lies above it: they are this user's or root's,
 *  and nobody else may write to them or, in directories like /tmp, replace what is not theirs. A symbolic link is followed
 *  first, so what counts is where it leads.
 *  @returns its real path */
export function privateDirectory(files: FileLayer, wanted: string): PrivateDirectory {
  try {
    const { there, missing } = deepest(files, wanted);
    const real = files.realpathSync(there);
    const above = faultAbove(files, missing.length > 0 ? real : path.dirname(real));
    if (above !== undefined) return { fault: above };
    const directory = path.join(real, ...missing);
    // One by one: Node's own way to make all never ends below /proc, which says of each that its parent is missing.
    missing.forEach((_, i) => makeDirectory(files, path.join(real, ...missing.slice(0, i + 1))));
    // As it is now: another may have made it in between.
    const now = files.realpathSync(directory);
    if (now !== directory) return { fault: `${directory} changes while it is looked at` };
    const fault = faultOf(files, directory, { ours: true });
    return fault === undefined ? { path: directory } : { fault };
  } catch (error) {
    return { fault: `${wanted} cannot be made or read: ${wordsOf(error)}` };
  }
}

function makeDirectory(files: FileLayer, directory: string): void {
  try {
    files.mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error; // another process made it
  }
}

/** The part of a path that is there, and the names below it that are not. */
function deepest(files: FileLayer, wanted: string): { there: string; missing: string[] } {
  const missing: string[] = [];
  let there = path.resolve(wanted);
  for (;;) {
    try {
      files.lstatSync(there);
      return { there, missing };
    } catch (error) {
      const parent = path.dirname(there);
      if (codeOf(error) !== "ENOENT" || parent === there) throw error;
      missing.unshift(path.basename(there));
      there = parent;
    }
  }
}

function faultAbove(files: FileLayer, directory: string): string | undefined {
  for (let at = directory; ; at = path.dirname(at)) {
    const fault = faultOf(files, at, { ours: false });
    if (fault !== undefined || at === path.dirname(at)) return fault;
  }
}

const sticky = 0o1000;

function faultOf(files: FileLayer, directory: string, { ours }: { readonly ours: boolean }): string | undefined {
  const info = files.lstatSync(directory);
  if (!info.isDirectory()) return `${directory} is not a directory`;
  const uid = process.getuid?.();
  if (uid === undefined) return undefined; // Windows: a profile's directories are its user's
  if (info.uid !== uid && (ours || info.uid !== 0)) return `${directory} belongs to another user (${info.uid})`;
  if (!ours && (info.mode & sticky) !== 0) return undefined;
  // A group of the user's own, as many systems give everybody, is the user.
  const others = !ours && info.gid === process.getgid?.() ? 0o002 : 0o022;
  return (info.mode & others) === 0 ? undefined : `others may write to ${directory}`;
}
