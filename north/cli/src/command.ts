/** What a command of `sinan` is: its words, its flags, its help, and what it does. A command's file imports nothing heavy before it
 *  runs, so that `--help` is there at once. */
import { type Flags, flagLines, type Values, type Words } from "./flags.ts";

export interface Command<F extends Flags = Flags> {
  readonly name: string;
  /** After `sinan NAME: `. */
  readonly about: string;
  readonly flags: F;
  /** What it takes beside flags. */
  readonly words?: Words;
  /** Paragraphs between flags and examples. */
  readonly notes?: string;
  /** Command lines without `sinan `, and what they do. */
  readonly examples: readonly (readonly [line: string, about: string])[];
  /** @returns the exit code */
  run(values: Values<F>, words: readonly string[]): Promise<number>;
}

/** The command as it is, its flags' types kept. */
export const command = <const F extends Flags>(made: Command<F>): Command<F> => made;

/** What `sinan NAME --help` shows. */
export function helpOf({ name, about, flags, words, notes, examples }: Command): string {
  const width = Math.max(...examples.map(([line]) => line.length));
  const lines = examples.map(([line, what]) => `  sinan ${line.padEnd(width)}  ${what}`.trimEnd());
  const usage = words ? `sinan ${name} ${words.value} [FLAGS]\n\n` : "";
  return [
    `sinan ${name}: ${about}\n\n${usage}${flagLines(flags)}\n`,
    ...(notes ? [`${notes}\n`] : []),
    `${lines.join("\n")}\n`,
  ].join("\n");
}
