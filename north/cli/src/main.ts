#!/usr/bin/env node
/** The command line: picks the command, says errors in a line or two, and ends with a code that tells them apart: 0 done,
 *  1 failed, 2 not understood, 130 interrupted. */
import { readFileSync } from "node:fs";
import process from "node:process";
import { SinanError } from "sinan";
import { devicesCommand } from "./devices.ts";
import { nearest, UsageError } from "./flags.ts";
import { generateCommand } from "./generate.ts";
import { print } from "./output.ts";
import { trainCommand } from "./train.ts";

const commands: Readonly<Record<string, (args: readonly string[]) => Promise<number>>> = {
  train: trainCommand,
  generate: generateCommand,
  devices: devicesCommand,
};

const help = `sinan: train and run language models on any chip

  sinan train      train a model on a text
  sinan generate   text from a trained model
  sinan devices    what there is to compute on

  sinan COMMAND --help   flags and examples
`;

async function run([name, ...args]: readonly string[]): Promise<number> {
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    print(help);
    return 0;
  }
  if (name === "--version") {
    print(`${version()}\n`);
    return 0;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command) return command(args.map((arg) => (arg === "-h" ? "--help" : arg)));
  const meant = nearest(name, Object.keys(commands));
  throw new UsageError(`sinan: there is no command ${JSON.stringify(name)}`, {
    hint: meant === undefined ? `There are ${Object.keys(commands).join(", ")}.` : `Did you mean ${meant}?`,
  });
}

const version = (): string =>
  (JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string }).version;

function explain(error: unknown): string {
  if (process.env["SINAN_DEBUG"]) return error instanceof Error ? (error.stack ?? String(error)) : String(error);
  if (error instanceof SinanError) return `${error.name}: ${error.message}`;
  return `${String(error)}\n  This is not expected: SINAN_DEBUG=1 shows where it comes from.`;
}

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

try {
  process.exitCode = await run(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${explain(error)}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
