/** Builds units of C text into shared objects, several at once, and finds again what was built before. What a unit becomes depends on
 *  its text, the compiler, the flags and the processor alone, and these are its key in the cache. */
import { availableParallelism } from "node:os";
import path from "node:path";
import { ArgumentError, ToolchainError } from "sinan/south";
import type { Compiler } from "./compiler.ts";
import { keyOf } from "../store/entries.ts";
import { codeOf, wordsOf } from "../store/file-layer.ts";
import { objectExtension, objectFault } from "./object-file.ts";
import type { Store, Workplace } from "../store/store.ts";
import { noSpaceIn, type Run, runProcess } from "./subprocess.ts";

/** A translation unit. */
export interface Unit {
  /** Letters, digits, `_` and `-`: profilers show it. */
  readonly name: string;
  readonly text: string;
}

export interface BuildOptions {
  readonly store: Store;
  /** Behind those that the compiler has for this processor, such as `-O3` and the language's `cFlags`. */
  readonly flags: readonly string[];
  /** How long one unit may take; 2 minutes. */
  readonly timeoutMs?: number;
  /** How many of these are built at once; never more than the machine has cores, whatever else is built. */
  readonly jobs?: number;
  readonly signal?: AbortSignal;
  /** After each unit that had to be built. */
  readonly onProgress?: (progress: Progress) => void;
}

export interface Progress {
  readonly name: string;
  /** How many of `total` are done, this one included. */
  readonly done: number;
  /** Those that were not in the cache. */
  readonly total: number;
}

/** A shared object that can be loaded; it stays where it is until the process ends. */
export interface Built {
  readonly path: string;
  /** Whether it was there before. */
  readonly cached: boolean;
}

/** Builds what is not in the cache.
 *
 *  @returns the objects in the order of the units
 *  @throws ToolchainError at the first unit that fails, once the others are ended: nothing of it is left behind;
 *    ArgumentError if a name cannot be a file's; the signal's reason if it is aborted
 *  @example const [object] = await build(compiler, [{ name: "gemm", text }], { store, flags: ["-O3"] }); */
export async function build(compiler: Compiler, units: readonly Unit[], options: BuildOptions): Promise<Built[]> {
  const { store, flags, onProgress, signal } = options;
  signal?.throwIfAborted();
  for (const { name } of units)
    if (!/^[\w-]{1,64}$/.test(name))
      throw new ArgumentError(`a unit's name is 1 to 64 letters, digits, "_" or "-", got ${JSON.stringify(name)}`);
  const keys = units.map(({ text }) => keyOf("object", text, compiler.identity, flags));
  const found = store.find(keys);
  const paths = new Map<string, string>();
  const missing = new Map<string, Unit>();
  units.forEach((unit, i) => {
    if (!found[i]) missing.set(keys[i] as string, unit);
  });
  if (missing.size > 0) {
    let done = 0;
    await buildAll(compiler, missing, options, (key, file, { name }) => {
      paths.set(key, file);
      onProgress?.({ name, done: ++done, total: missing.size });
    });
    store.trim();
  }
  return keys.map((key, i) => ({ path: found[i]?.path ?? (paths.get(key) as string), cached: found[i] !== undefined }));
}

type OnBuilt = (key: string, file: string, unit: Unit) => void;

/** All of them by a few at a time, the longest first; the first failure ends the others. */
async function buildAll(
  compiler: Compiler,
  units: ReadonlyMap<string, Unit>,
  options: BuildOptions,
  onBuilt: OnBuilt,
): Promise<void> {
  const { jobs = units.size, signal } = options;
  const stop = new AbortController();
  const signals = AbortSignal.any([stop.signal, ...(signal ? [signal] : [])]);
  const queue = [...units].sort(([, a], [, b]) => b.text.length - a.text.length);
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [key, unit] = next;
      try {
        onBuilt(key, await buildOne(compiler, key, unit, { ...options, signal: signals }), unit);
      } catch (error) {
        stop.abort(error);
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.max(1, Math.min(jobs, units.size)) }, work));
  if (ends.some(({ status }) => status === "rejected")) throw signals.reason;
}

/** Builds one in a directory of its own; if the cache's disk does not take it, once more elsewhere.
 *  @returns where the object is */
async function buildOne(compiler: Compiler, key: string, unit: Unit, options: BuildOptions): Promise<string> {
  const { store } = options;
  for (;;) {
    const place = store.workplace();
    try {
      const file = path.join(place.path, `${unit.name}.${objectExtension}`);
      const made = await compile(compiler, unit, place, options);
      if ("bytes" in made)
        return await store.keep(place, file, made.bytes, { name: unit.name, key, extension: objectExtension });
      if (!place.isCache) throw failure(unit, "no-space", `has no room for its files in ${place.path}`, made.noSpace);
      store.giveUp(made.noSpace);
    } finally {
      place.close();
    }
  }
}

/** Runs the compiler and looks at what it made.
 *  @returns the object, or what the system says of a disk that takes no more
 *  @throws ToolchainError */
async function compile(
  compiler: Compiler,
  unit: Unit,
  place: Workplace,
  { store, flags, timeoutMs = 120_000, signal }: BuildOptions,
): Promise<{ readonly bytes: Uint8Array } | { readonly noSpace: string }> {
  const [source, output] = [`${unit.name}.c`, `${unit.name}.${objectExtension}`];
  const file = path.join(place.path, output);
  try {
    store.files.writeFileSync(path.join(place.path, source), unit.text);
  } catch (error) {
    return { noSpace: wordsOf(error) };
  }
  const command = [...compiler.command, ...compiler.flags, ...flags, "-shared", "-fPIC", "-o", output, source, "-lm"];
  const environment = { ...compiler.environment, TMPDIR: place.path };
  const run = await inTurn(() =>
    runProcess(command, { cwd: place.path, environment, timeoutMs, ...(signal ? { signal } : {}) }),
  );
  const full = noSpaceIn(run);
  if (full !== undefined) return { noSpace: full };
  const words = endOf(run, timeoutMs);
  if (words !== undefined) throw failure(unit, ...words, run.stderr);
  const bytes = contentOf(store, file);
  if (bytes === undefined) throw failure(unit, "no-output", "says that all is well, and made nothing", run.stderr);
  const fault = objectFault(bytes);
  if (fault !== undefined) throw failure(unit, "garbage", `made what cannot be loaded: ${fault}`, run.stderr);
  store.files.rmSync(path.join(place.path, source), { force: true });
  return { bytes };
}

let free = availableParallelism();
const waiting: (() => void)[] = [];

/** All builds of this process together run no more compilers at once than there are cores. */
async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (free > 0) free--;
  else await new Promise<void>((go) => waiting.push(go));
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else free++;
  }
}

type Reason = ToolchainError["reason"];

/** What is to be said of a compiler that did not end well. */
function endOf({ end, code, signal }: Run, timeoutMs: number): [Reason, string] | undefined {
  if (end === "timeout") return ["timeout", `was ended after ${timeoutMs / 1000} s`];
  if (end === "signal") return ["killed", `was ended by ${signal}`];
  if (end === "spawn") return ["not-started", "cannot be started"];
  return code === 0 ? undefined : ["refused", `ended with code ${code}`];
}

function contentOf(store: Store, file: string): Uint8Array | undefined {
  try {
    return store.files.readFileSync(file);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

const shownLines = 12;

function failure({ name }: Unit, reason: Reason, what: string, stderr: string): ToolchainError {
  const log = stderr.trim().split("\n").slice(0, shownLines).join("\n").slice(0, 4000);
  return new ToolchainError(`the C compiler ${what} (unit ${name})${log === "" ? "" : `:\n${log}`}`, {
    reason,
    unit: name,
    log,
    hint: "SINAN_CC names another compiler, SINAN_CPU=wasm does without.",
  });
}
