/** What stands in for `node:test` in a page: the part of it that the tests here use. Tests are collected while their module
 *  runs, then run one after another; the page's owner hears how each of them ends through `sinanTold`. */

type Body = (t: Context) => unknown;

export interface Options {
  readonly skip?: boolean | string;
  /** Accepted, and passed over: tests of a page run one after another, and the owner has a clock. */
  readonly timeout?: number;
  readonly concurrency?: number;
}

/** What the owner hears. `path` is the names of the test and of those around it. */
export type Told =
  | { readonly event: "begin"; readonly path: readonly string[] }
  | { readonly event: "end"; readonly path: readonly string[]; readonly skip?: string; readonly error?: string }
  | { readonly event: "done" };

/** Which tests to run, and how. */
export interface Choice {
  /** What stands for `process.env`. */
  readonly env: Readonly<Record<string, string>>;
  /** One of so many, chosen by their names and the seed. */
  readonly share?: { readonly of: number; readonly seed: string };
  /** But none whose name begins so. */
  readonly without?: readonly string[];
}

/** Given by the owner before the tests load. */
interface Owner {
  sinanTold(told: Told): Promise<void>;
  readonly sinanChoice: Choice;
}

const owner = globalThis as unknown as Owner;

interface Suite {
  readonly before: (() => unknown)[];
  readonly after: (() => unknown)[];
  readonly runs: (() => Promise<void>)[];
}

/** Tests of the file, chosen or not. */
let collected = 0;

const newSuite = (): Suite => ({ before: [], after: [], runs: [] });
const root = newSuite();
let current: { readonly suite: Suite; readonly path: readonly string[] } = { suite: root, path: [] };

export interface Context {
  readonly name: string;
  readonly mock: typeof mock;
  test(name: string, ...rest: readonly [Body] | readonly [Options, Body]): Promise<void>;
  after(hook: () => unknown): void;
  skip(why?: string): void;
  diagnostic(text: string): void;
}

const split = (rest: readonly [Body] | readonly [Options, Body]): { options: Options; body: Body } =>
  rest.length === 1 ? { options: {}, body: rest[0] } : { options: rest[0], body: rest[1] };

const skipOf = ({ skip }: Options): string | undefined =>
  skip === undefined || skip === false ? undefined : skip === true ? "skipped" : skip;

async function runTest(path: readonly string[], options: Options, body: Body): Promise<void> {
  await owner.sinanTold({ event: "begin", path });
  let skip = skipOf(options);
  let error: string | undefined;
  if (skip === undefined) {
    const hooks: (() => unknown)[] = [];
    const restored = mocked.length;
    const context: Context = {
      name: path.at(-1) ?? "",
      mock,
      test: (name, ...rest) => {
        const { options, body } = split(rest);
        return runTest([...path, name], options, body);
      },
      after: (hook) => void hooks.push(hook),
      skip: (why = "skipped") => {
        skip = why;
      },
      diagnostic: () => {},
    };
    try {
      await body(context);
      for (const hook of hooks) await hook();
    } catch (cause) {
      error = textOf(cause);
    } finally {
      for (const restore of mocked.splice(restored)) restore();
    }
  }
  await owner.sinanTold({
    event: "end",
    path,
    ...(skip === undefined ? {} : { skip }),
    ...(error === undefined ? {} : { error }),
  });
}

/** With the causes behind it. */
function textOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const own = cause.stack?.includes(cause.message) ? cause.stack : `${cause.name}: ${cause.message}\n${cause.stack}`;
  return cause.cause === undefined ? own : `${own}\ncaused by ${textOf(cause.cause)}`;
}

/** FNV-1a of the text, after Fowler, Noll and Vo, in 32 bits, its bits then mixed as MurmurHash3 ends. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function isChosen(path: readonly string[]): boolean {
  const { share, without = [] } = owner.sinanChoice;
  if (without.some((name) => path.at(-1)?.startsWith(name))) return false;
  return !share || hash(`${share.seed} ${path.join(" ")}`) % share.of === 0;
}

function test(name: string, ...rest: readonly [Body] | readonly [Options, Body]): void {
  const { options, body } = split(rest);
  const path = [...current.path, name];
  collected++;
  if (isChosen(path)) current.suite.runs.push(() => runTest(path, options, body));
}

export { test, test as default };

export function describe(name: string, ...rest: readonly [() => void] | readonly [Options, () => void]): void {
  const body = rest.length === 1 ? rest[0] : rest[1];
  const around = current;
  const suite = newSuite();
  current = { suite, path: [...around.path, name] };
  body();
  current = around;
  around.suite.runs.push(() => runSuite(suite));
}

export const before = (hook: () => unknown): void => void current.suite.before.push(hook);
export const after = (hook: () => unknown): void => void current.suite.after.push(hook);

async function runSuite({ before, runs, after }: Suite): Promise<void> {
  if (runs.length === 0) return;
  for (const hook of before) await hook();
  for (const run of runs) await run();
  for (const hook of after) await hook();
}

interface Call {
  readonly arguments: readonly unknown[];
}

const mocked: (() => void)[] = [];

/** `mock.method` of Node. */
export const mock = {
  method<Name extends string, O extends Record<Name, unknown>>(
    object: O,
    name: Name,
    implementation: (...args: readonly unknown[]) => unknown,
  ) {
    const original = object[name];
    const calls: Call[] = [];
    const restore = (): void => {
      object[name] = original;
    };
    object[name] = ((...args: readonly unknown[]) => {
      calls.push({ arguments: args });
      return implementation(...args);
    }) as O[Name];
    mocked.push(restore);
    return { mock: { calls, callCount: () => calls.length, restore } };
  },
};

/** Runs what was collected; the last line of a page's program. */
export async function runAll(): Promise<void> {
  if (collected === 0) throw new Error("the file has no tests: was it bundled whole?");
  try {
    await runSuite(root);
  } finally {
    await owner.sinanTold({ event: "done" });
  }
}
