/** Compiled programs, by structure: the hash finds them, equality decides. */
import { type Fn, fnEqual } from "../ir/fn.ts";
import { Program } from "../runtime/program.ts";
import type { Stream } from "../runtime/stream.ts";
import { compile } from "./compile.ts";
import type { Fit } from "./layout.ts";
import type { Tuning } from "./tuning.ts";

interface Entry {
  readonly fn: Fn;
  readonly donated: string;
  readonly fit: Fit | undefined;
  readonly tune: Tuning | undefined;
  readonly program: Program;
}

const programs = new WeakMap<Stream, Map<number, Entry[]>>();
const listeners = new Set<(fn: Fn) => void>();
let compilations = 0;

/** The program of a function on a device, compiled at the first request. `donated`: inputs that its calls will give away. */
export function programFor(
  fn: Fn,
  stream: Stream,
  donated: ReadonlySet<number> = none,
  fit?: Fit,
  tune?: Tuning,
): Program {
  const own = programs.get(stream) ?? new Map<number, Entry[]>();
  programs.set(stream, own);
  const key = [...donated].join(",");
  const list = own.get(fn.hash) ?? [];
  own.set(fn.hash, list);
  const known = list.find((e) => e.donated === key && e.fit === fit && e.tune === tune && fnEqual(e.fn, fn));
  if (known) return known.program;
  const program = newProgram(fn, stream, donated, fit, tune);
  list.push({ fn, donated: key, fit, tune, program });
  return program;
}

/** A program that the caller keeps. */
export function newProgram(
  fn: Fn,
  stream: Stream,
  donated: ReadonlySet<number> = none,
  fit?: Fit,
  tune?: Tuning,
): Program {
  compilations++;
  for (const tell of listeners) tell(fn);
  return new Program(fn, stream, (f, hardware) => {
    const made = () => compile(f, hardware, donated, fit);
    return tune ? tune.within(made) : made();
  });
}

/** How many programs have been compiled so far in this process. */
export const compileCount = (): number => compilations;

/** Tells of every function that is compiled; returns how to stop. */
export function onCompile(listener: (fn: Fn) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const none: ReadonlySet<number> = new Set();
