/** The private cache of what the compiler made and said: a directory of this user's alone. What cannot be kept there, because it is
 *  read-only, full or somebody else's, is made in a temporary directory for this run, and one line says so. */
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { ArgumentError } from "sinan/south";
import { type Candidate, entriesOf, entryFile, type EntryName, readEntry, sumOf } from "./entries.ts";
import { type FileLayer, flush, systemFiles, wordsOf } from "./file-layer.ts";
import { cachePath, type Environment, privateDirectory } from "./private-directory.ts";
import { sweep, trim } from "./trim.ts";

export interface StoreOptions {
  /** Says where the directory is (`SINAN_CACHE`, `XDG_CACHE_HOME`, `HOME`) and how large it may become (`SINAN_CACHE_MB`): by
   *  default `process.env`. */
  readonly environment?: Environment;
  readonly files?: FileLayer;
  /** Told in one line why this run keeps nothing; at most once. */
  readonly onWarning?: (line: string) => void;
}

/** An entry that was found whole. */
export interface Found {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** A directory of this run's own in which something is made. */
export interface Workplace {
  readonly path: string;
  /** Whether what is made there can be moved into the cache. */
  readonly isCache: boolean;
  /** Removes it, at the end of the process if something in it was handed out. */
  close(): void;
}

/** What an entry is called and was made of. */
export type Made = Omit<EntryName, "sum">;

/** An entry by its content. */
export interface Noted {
  readonly made: Made;
  readonly bytes: Uint8Array;
}

export interface Store {
  readonly files: FileLayer;
  /** Where entries are kept; undefined where none are. */
  readonly directory: string | undefined;
  /** What there is for each key, each checked before it is returned: a damaged or foreign entry is removed and counts as none. */
  find(keys: readonly string[]): (Found | undefined)[];
  /** Makes entries of these bytes, as far as that can be done at once: who finds one missing, or broken by a crash, makes it again. */
  note(entries: readonly Noted[]): void;
  workplace(): Workplace;
  /** Makes an entry of a file in a workplace, which has these bytes.
   *  @returns where it is from now on until the process ends
   *  @throws what the system says, if there is no room among the temporary files either */
  keep(place: Workplace, file: string, bytes: Uint8Array, made: Made): Promise<string>;
  /** From here on nothing is written to the directory. */
  giveUp(reason: unknown): void;
  /** Brings the directory below its bound. Nothing that this process was given is removed. */
  trim(): void;
}

/** What was handed out, and is perhaps loaded. */
const inUse = new Set<string>();

/** Directories of this process, which go with it at the latest, and those of them in which something was handed out. */
const places = new Set<string>();
const held = new Set<string>();

/** Opens the cache. Nothing in it is read yet.
 *  @throws ArgumentError if `SINAN_CACHE_MB` is not a number of megabytes */
export function openStore({
  environment = process.env,
  files = systemFiles,
  onWarning = () => undefined,
}: StoreOptions = {}): Store {
  const most = limitOf(environment) * 2 ** 20;
  const wanted = cachePath(environment);
  const ofThisRun = new Map<string, Candidate>();
  let directory: string | undefined;
  let [writable, told] = [false, most === 0];
  const giveUp = (reason: unknown): void => {
    if (!told)
      onWarning(
        `the native cache ${wanted} is not used: ${wordsOf(reason)}; what is compiled is kept for this run only`,
      );
    [writable, told] = [false, true];
  };
  if (most > 0) {
    const found = privateDirectory(files, wanted);
    if ("fault" in found) giveUp(found.fault);
    else [directory, writable] = [found.path, true];
  }

  const find = (key: string): Found | undefined => {
    const own = ofThisRun.get(key);
    return whole([...(own ? [own] : []), ...(directory === undefined ? [] : entriesOf(files, directory, key))]);
  };
  /** The first of an entry's files that is what its name says; others go. */
  const whole = (candidates: readonly Candidate[]): Found | undefined => {
    for (const { file, sum } of candidates) {
      const bytes = readEntry(files, file, sum);
      if (bytes !== undefined) {
        inUse.add(file);
        return { path: file, bytes };
      }
      if (writable) attempt(() => files.rmSync(file, { recursive: true, force: true }));
    }
    return undefined;
  };
  const workplace = (): Workplace => {
    if (directory !== undefined && writable)
      try {
        return open(files, directory, "work", true);
      } catch (error) {
        giveUp(error);
      }
    return open(files, tmpdir(), "sinan-native", false);
  };
  const keep = async (place: Workplace, file: string, bytes: Uint8Array, made: Made): Promise<string> => {
    const entry = { ...made, sum: sumOf(bytes) };
    if (directory !== undefined && writable && place.isCache)
      try {
        const to = path.join(directory, entryFile(entry));
        files.chmodSync(file, 0o600);
        await flush(files, file);
        moveIn(files, file, to);
        inUse.add(to);
        await flush(files, path.dirname(to), true).catch(() => undefined); // a crash now loses the entry, not its meaning
        return to;
      } catch (error) {
        giveUp(error);
      }
    // What a disk did not take is not to be read from it.
    const other = place.isCache ? workplace() : place;
    held.add(other.path);
    const at = other === place ? file : path.join(other.path, path.basename(file));
    if (other !== place) files.writeFileSync(at, bytes, { mode: 0o600 });
    ofThisRun.set(entry.key, { file: at, sum: entry.sum });
    return at;
  };
  const note = (entries: readonly Noted[]): void => {
    if (directory === undefined || !writable || entries.length === 0) return;
    const place = workplace();
    try {
      if (!place.isCache) return;
      for (const { made, bytes } of entries) {
        const file = path.join(place.path, made.name);
        files.writeFileSync(file, bytes, { mode: 0o600 });
        moveIn(files, file, path.join(directory, entryFile({ ...made, sum: sumOf(bytes) })));
      }
    } catch (error) {
      giveUp(error);
    } finally {
      place.close();
    }
  };
  return {
    files,
    directory,
    find: (keys) => keys.map(find),
    note,
    workplace,
    keep,
    giveUp,
    trim: () => {
      if (directory === undefined || !writable) return;
      const place = directory;
      attempt(() => trim(files, place, most, inUse));
      attempt(() => sweep(files, place, "work"));
    },
  };
}

/** Gives a file its place, in a folder that may not be there yet. */
function moveIn(files: FileLayer, file: string, to: string): void {
  files.mkdirSync(path.dirname(to), { recursive: true, mode: 0o700 });
  files.renameSync(file, to);
}

const usualMegabytes = 512;

/** 0 means that nothing is kept. */
function limitOf(environment: Environment): number {
  const text = environment["SINAN_CACHE_MB"];
  if (!text) return usualMegabytes;
  const megabytes = Number(text);
  if (megabytes >= 0 && megabytes < 2 ** 32) return megabytes;
  throw new ArgumentError(
    `SINAN_CACHE_MB is how many megabytes the native cache may have, got ${JSON.stringify(text)}`,
    {
      hint: "Give a number such as 512, or 0 to keep nothing.",
    },
  );
}

/** Whether what killed programs left among the system's temporary files was looked for. */
let swept = false;
/** Whether the end of the process is waited for. */
let leaving = false;

/** @throws what the system says */
function open(files: FileLayer, parent: string, prefix: string, isCache: boolean): Workplace {
  if (!isCache && !swept) attempt(() => sweep(files, parent, prefix));
  swept ||= !isCache;
  if (!leaving) process.once("exit", () => places.forEach((one) => removeAll(files, one)));
  leaving = true;
  const directory = files.mkdtempSync(path.join(parent, `${prefix}-${process.pid}-`));
  places.add(directory);
  return {
    path: directory,
    isCache,
    close: () => {
      if (held.has(directory)) return;
      removeAll(files, directory);
      places.delete(directory);
    },
  };
}

const removeAll = (files: FileLayer, directory: string): void => {
  attempt(() => files.rmSync(directory, { recursive: true, force: true }));
};

/** What fails here only leaves something behind, or finds nothing. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}
