/** The user's line: the first frame of the stack that is not Sinan's own. Engines spell stacks differently; a frame that
 *  is not understood gives no site rather than a wrong one. */

import { SinanError } from "../errors.ts";

const own = import.meta.url.replace(/^file:\/\/|ir\/site\.(ts|js)$/g, "");
const frame = /(?:file:\/\/)?(\/?[^\s()]+?):(\d+):(\d+)\)?$/;

/** A stack taken now, searched only when somebody asks. It is text: an Error would keep every function on the stack alive, and
 *  with the functions the tensors that they hold. */
export type Site = { readonly stack?: string | undefined };

export function takeSite(): Site {
  // Where the engine has such a limit, its default of ten frames ends inside Sinan when a derivative rule makes the node.
  const engine = Error as { stackTraceLimit?: number | undefined };
  const limit = engine.stackTraceLimit;
  engine.stackTraceLimit = 40;
  const { stack } = new Error();
  engine.stackTraceLimit = limit;
  return { stack };
}

const modules: string[] = [];
const places: string[] = [];

/** Told the path of a module below the one that was called first, `layers.3.mlp`, and its result, a tree. */
export type Observer = (path: string, result: unknown) => void;

let observer: Observer | undefined;

/** Runs the body of a module: nodes made in it name the modules that they are in.
 *  @param place  its path in the module that holds it; empty for one that none holds, which goes by its kind */
export function inModule<T>(place: string, kind: string, body: () => T): T {
  modules.push(place === "" ? kind : place);
  places.push(place);
  try {
    const result = body();
    observer?.(places.filter((p) => p !== "").join("."), result);
    return result;
  } finally {
    modules.pop();
    places.pop();
  }
}

/** Runs a body and tells of each module that is called in it once it is done. Regions are entered: outside of a trace what is seen
 *  are values.
 *
 *  @example nn.observe((path, y) => console.log(path, String(y)), () => model(x)) */
export function observe<T>(by: Observer, body: () => T): T {
  const before = observer;
  observer = by;
  try {
    return body();
  } finally {
    observer = before;
  }
}

export const isObserved = (): boolean => observer !== undefined;

/** The user's line and the modules around it, for a node of a trace: `model.ts:41:18 in layers.0.attention`. */
export function traceSite(): string | undefined {
  const site = currentLine();
  return site === undefined || modules.length === 0 ? site : `${site} in ${modules.join(".")}`;
}

/** Runs an operation; an error of Sinan's that leaves it says where the user's code was. */
export function located<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof SinanError && !known.has(error)) {
      known.add(error);
      const site = siteText(takeSite());
      if (site) error.message = `${error.message}\n  at ${site}`;
    }
    throw error;
  }
}

const known = new WeakSet<SinanError>();

let line: { found: boolean; text: string | undefined } | undefined;

/** Runs what makes many nodes and calls no code of the user's: all of them are of the line that calls it, which is found once. */
export function atOneLine<T>(body: () => T): T {
  if (line) return body();
  line = { found: false, text: undefined };
  try {
    return body();
  } finally {
    line = undefined;
  }
}

/** The user's line now, as text. */
function currentLine(): string | undefined {
  if (!line) return siteText(takeSite());
  if (!line.found) line = { found: true, text: siteText(takeSite()) };
  return line.text;
}

/** `file.ts:41:18`, or undefined. */
export function siteText(site: Site): string | undefined {
  for (const line of (site.stack ?? "").split("\n").slice(1)) {
    const found = frame.exec(line.trim());
    if (!found?.[1]) continue;
    if ((line.includes(own) && !/\.test\.[tj]s:/.test(line)) || line.includes("node:internal")) continue;
    return `${found[1].split("/").slice(-3).join("/")}:${found[2]}:${found[3]}`;
  }
  return undefined;
}
