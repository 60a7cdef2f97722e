/** Flags of a command: declared as a table, read by `util.parseArgs`, each value checked. What is wrong is said with what was
 *  expected and, for a name that is not known, the one that was probably meant. */
import { parseArgs } from "node:util";
import { SinanError } from "sinan";

/** A command line that cannot be understood: the program ends with code 2. */
export class UsageError extends SinanError {}

export type Flag =
  | { readonly kind: "flag"; readonly about: string }
  | { readonly kind: "text"; readonly value: string; readonly about: string }
  | {
      readonly kind: "whole" | "real";
      readonly value: string;
      readonly least: number;
      readonly most: number;
      readonly about: string;
    };

export type Flags = Readonly<Record<string, Flag>>;

/** The values by flag; absent where the flag is. */
export type Values<F extends Flags> = {
  readonly [K in keyof F]?: F[K] extends { readonly kind: "flag" }
    ? true
    : F[K] extends { readonly kind: "text" }
      ? string
      : number;
};

/** Reads a command's arguments.
 *  @throws UsageError for a flag that is not known, has no value, a wrong one, or is given twice, and for stray words */
export function readFlags<const F extends Flags>(command: string, flags: F, args: readonly string[]): Values<F> {
  const options = Object.fromEntries(
    Object.entries(flags).map(([name, { kind }]) => [name, { type: kind === "flag" ? "boolean" : "string" } as const]),
  );
  const { tokens } = parseArgs({ args: [...args], options, strict: false, allowPositionals: true, tokens: true });
  const values: Record<string, true | string | number> = {};
  const more = { hint: `sinan ${command} --help lists the flags.` };
  for (const token of tokens) {
    if (token.kind === "option-terminator") continue;
    if (token.kind === "positional")
      throw new UsageError(`sinan ${command}: ${JSON.stringify(token.value)} is not a flag`, more);
    const { name, rawName, value } = token;
    const flag = Object.hasOwn(flags, name) ? flags[name] : undefined;
    if (!flag || rawName !== `--${name}`) {
      const meant = nearest(name, Object.keys(flags));
      throw new UsageError(
        `sinan ${command}: there is no flag ${rawName}`,
        meant === undefined ? more : { hint: `Did you mean --${meant}?` },
      );
    }
    if (name in values) throw new UsageError(`sinan ${command}: --${name} is given twice`, { hint: "Give it once." });
    values[name] = read(`sinan ${command}: --${name}`, flag, value);
  }
  return values as Values<F>;
}

function read(where: string, flag: Flag, value: string | undefined): true | string | number {
  if (flag.kind === "flag") {
    if (value === undefined) return true;
    throw new UsageError(`${where} takes no value, got ${JSON.stringify(value)}`);
  }
  if (flag.kind === "text") {
    if (value !== undefined && value !== "") return value;
    throw new UsageError(`${where}: expected ${flag.value}, got nothing`);
  }
  const { kind, least, most } = flag;
  const number =
    value !== undefined && /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value) ? Number(value) : Number.NaN;
  if (number >= least && number <= most && (kind === "real" || Number.isSafeInteger(number))) return number;
  const what = kind === "whole" ? "a whole number" : "a number";
  throw new UsageError(
    `${where}: expected ${what} from ${least} to ${most}, got ${value === undefined ? "nothing" : JSON.stringify(value)}`,
  );
}

/** The name that differs least from what was typed, if it is near enough to have been meant. */
export function nearest(typed: string, names: readonly string[]): string | undefined {
  const [best] = names
    .map((name) => ({ name, far: distance(typed.toLowerCase(), name) }))
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
  const left = (name: string, flag: Flag): string => `  --${name}${flag.kind === "flag" ? "" : ` ${flag.value}`}`;
  const width = Math.max(...Object.entries(flags).map(([name, flag]) => left(name, flag).length)) + 2;
  return Object.entries(flags)
    .map(([name, flag]) => `${left(name, flag).padEnd(width)}${flag.about}`)
    .join("\n");
}
