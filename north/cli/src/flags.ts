/** Flags of a command: declared as a table, read from the command line and from configuration files, each value checked. What is wrong
 *  is said with what was expected and, for a name that is not known, the one that was probably meant. */
import { parseArgs } from "node:util";

/** A command line that cannot be understood: the program ends with code 2. */
export class UsageError extends Error {
  constructor(message: string, { hint, cause }: { readonly hint?: string; readonly cause?: unknown } = {}) {
    super(hint === undefined ? message : `${message}\n  ${hint}`, cause === undefined ? {} : { cause });
    this.name = "UsageError";
  }
}

export type Flag =
  | { readonly kind: "flag"; readonly about: string }
  /** `texts` may be given several times. */
  | { readonly kind: "text" | "texts"; readonly value: string; readonly about: string }
  | { readonly kind: "choice"; readonly values: readonly string[]; readonly about: string }
  | {
      readonly kind: "whole" | "real";
      readonly value: string;
      readonly least: number;
      readonly most: number;
      readonly about: string;
    };

export type Flags = Readonly<Record<string, Flag>>;

export const whole = (value: string, least: number, most: number, about: string) =>
  ({ kind: "whole", value, least, most, about }) as const;
export const real = (value: string, least: number, most: number, about: string) =>
  ({ kind: "real", value, least, most, about }) as const;
export const text = (value: string, about: string) => ({ kind: "text", value, about }) as const;
export const texts = (value: string, about: string) => ({ kind: "texts", value, about }) as const;
export const choice = <const V extends readonly string[]>(values: V, about: string) =>
  ({ kind: "choice", values, about }) as const;
export const flag = (about: string) => ({ kind: "flag", about }) as const;

type ValueOf<F extends Flag> = F extends { readonly kind: "flag" }
  ? true
  : F extends { readonly kind: "text" }
    ? string
    : F extends { readonly kind: "texts" }
      ? readonly string[]
      : F extends { readonly kind: "choice"; readonly values: infer V extends readonly string[] }
        ? V[number]
        : number;

/** The values by flag; absent where the flag is. */
export type Values<F extends Flags> = { readonly [K in keyof F]?: ValueOf<F[K]> };

/** Words of a command line that are no flags: how many there may be, and what they are called. */
export interface Words {
  readonly value: string;
  readonly least: number;
  readonly most: number;
}

/** Reads a command's arguments.
 *  @throws UsageError for a flag that is not known, has no value, a wrong one, or is given twice, and for too many or too few words */
export function readArguments<const F extends Flags>(
  command: string,
  flags: F,
  args: readonly string[],
  allowed: Words = { value: "", least: 0, most: 0 },
): { readonly values: Values<F>; readonly words: readonly string[] } {
  const options = Object.fromEntries(
    Object.entries(flags).map(([name, { kind }]) => [
      name,
      { type: kind === "flag" ? "boolean" : "string", multiple: kind === "texts" } as const,
    ]),
  );
  const { tokens } = parseArgs({ args: [...args], options, strict: false, allowPositionals: true, tokens: true });
  const values: Record<string, unknown> = {};
  const words: string[] = [];
  const more = { hint: `sinan ${command} --help lists the flags.` };
  for (const token of tokens) {
    if (token.kind === "option-terminator") continue;
    if (token.kind === "positional") {
      words.push(token.value);
      if (words.length <= allowed.most) continue;
      const what =
        allowed.most === 0 ? "is not a flag" : `is one word too many: ${usageOf(allowed)} is all that is expected`;
      throw new UsageError(`sinan ${command}: ${JSON.stringify(token.value)} ${what}`, more);
    }
    const { name, rawName, value } = token;
    const known = Object.hasOwn(flags, name) ? flags[name] : undefined;
    if (!known || rawName !== `--${name}`) {
      const meant = nearest(name, Object.keys(flags));
      throw new UsageError(
        `sinan ${command}: there is no flag ${rawName}`,
        meant === undefined ? more : { hint: `Did you mean --${meant}?` },
      );
    }
    const read = fromWord(`sinan ${command}: --${name}`, known, value);
    const before = Object.hasOwn(values, name) ? values[name] : undefined;
    if (known.kind === "texts") values[name] = [...(Array.isArray(before) ? before : []), read];
    else if (before === undefined) values[name] = read;
    else throw new UsageError(`sinan ${command}: --${name} is given twice`, { hint: "Give it once." });
  }
  if (words.length < allowed.least && values["help"] !== true)
    throw new UsageError(`sinan ${command}: expected ${usageOf(allowed)}, got nothing`, more);
  return { values: values as Values<F>, words };
}

const usageOf = ({ value }: Words): string => value;

/** The flags alone, of a command without other words. */
export const readFlags = <const F extends Flags>(command: string, flags: F, args: readonly string[]): Values<F> =>
  readArguments(command, flags, args).values;

/** Reads the values of a configuration: by camel-case names, a number as a number.
 *  @throws UsageError naming the file and the key */
export function readSettings<const F extends Flags>(where: string, flags: F, settings: unknown): Values<F> {
  if (typeof settings !== "object" || settings === null || Array.isArray(settings))
    throw new UsageError(`${where}: expected an object of settings, got ${JSON.stringify(settings)}`);
  const byKey = new Map(Object.keys(flags).map((name) => [camelCase(name), name]));
  const values: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(settings) as [string, unknown][]) {
    const name = byKey.get(key);
    const known = name === undefined ? undefined : flags[name];
    if (name === undefined || !known) {
      const meant = nearest(key, [...byKey.keys()]);
      throw new UsageError(
        `${where}: there is no setting ${JSON.stringify(key)}`,
        meant === undefined ? {} : { hint: `Did you mean ${meant}?` },
      );
    }
    if (value !== undefined && value !== false) values[name] = checked(`${where}: ${key}`, known, value);
  }
  return values as Values<F>;
}

/** `max-tokens` as `maxTokens`. */
export const camelCase = (name: string): string =>
  name.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase());

function fromWord(where: string, known: Flag, value: string | undefined): unknown {
  if (known.kind === "flag") {
    if (value === undefined) return true;
    throw new UsageError(`${where} takes no value, got ${JSON.stringify(value)}`);
  }
  if (known.kind === "texts") return checked(where, { ...known, kind: "text" }, value);
  const isNumber = known.kind === "whole" || known.kind === "real";
  if (!isNumber || value === undefined || !/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value))
    return checked(where, known, value);
  return checked(where, known, Number(value), value);
}

/** @throws UsageError saying what was expected and what came */
function checked(where: string, known: Flag, value: unknown, written: unknown = value): unknown {
  const refuse = (expected: string): UsageError => {
    const came = written === undefined || written === "" ? "nothing" : JSON.stringify(written);
    return new UsageError(`${where}: expected ${expected}, got ${came}`);
  };
  switch (known.kind) {
    case "flag":
      if (value === true) return true;
      throw refuse("true or false");
    case "text":
      if (typeof value === "string" && value !== "" && !value.includes("\0")) return value;
      throw refuse(known.value);
    case "texts":
      if (Array.isArray(value)) return value.map((each) => checked(where, { ...known, kind: "text" }, each));
      return [checked(where, { ...known, kind: "text" }, value)];
    case "choice": {
      if (typeof value === "string" && known.values.includes(value)) return value;
      throw refuse(known.values.join(" or "));
    }
    default: {
      const { kind, least, most } = known;
      const fits = typeof value === "number" && value >= least && value <= most;
      if (fits && (kind === "real" || Number.isSafeInteger(value))) return value;
      throw refuse(`${kind === "whole" ? "a whole number" : "a number"} from ${least} to ${most}`);
    }
  }
}

/** The name that differs least from what was typed, if it is near enough to have been meant. */
export function nearest(typed: string, names: readonly string[]): string | undefined {
  const [best] = names
    .map((name) => ({ name, far: distance(typed.slice(0, 64).toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.far - b.far);
  return best && best.far <= Math.max(2, Math.floor(best.name.length / 3)) ? best.name : undefined;
}

/** Insertions, deletions, substitutions and swaps of neighbours that turn one word into another (Damerau 1964, restricted). */
function distance(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) =>
    Array.from({ length: b.length + 1 }, (_, j) => (i === 0 ? j : j === 0 ? i : 0)),
  );
  const at = (i: number, j: number): number => rows[i]?.[j] ?? Number.POSITIVE_INFINITY;
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, at(i - 2, j - 2) + 1);
      const row = rows[i];
      if (row) row[j] = best;
    }
  }
  return at(a.length, b.length);
}

/** The flags as lines for `--help`. */
export function flagLines(flags: Flags): string {
  const left = (name: string, f: Flag): string =>
    `  --${name}${f.kind === "flag" ? "" : f.kind === "choice" ? ` ${f.values.join("|")}` : ` ${f.value}`}`;
  const width = Math.max(...Object.entries(flags).map(([name, f]) => left(name, f).length)) + 2;
  return Object.entries(flags)
    .map(([name, f]) => `${left(name, f).padEnd(width)}${f.about}`)
    .join("\n");
}
