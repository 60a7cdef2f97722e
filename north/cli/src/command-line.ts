/** A command line from its words to its exit code: picks the command, and says errors in a line or two. */
import { readFileSync } from "node:fs";
import process from "node:process";
import { helpOf } from "./command.ts";
import { type CommandName, commandNames, commands } from "./commands.ts";
import { nearest, readArguments, UsageError } from "./flags.ts";
import { print } from "./output.ts";

/** @returns the exit code: 0 done, 1 failed, 2 not understood, 130 interrupted, 143 terminated */
export async function runCommandLine(words: readonly string[]): Promise<number> {
  try {
    return await runCommand(words);
  } catch (error) {
    process.stderr.write(`${explain(error)}\n`);
    return error instanceof UsageError ? 2 : 1;
  }
}

const help = (): string => {
  const width = Math.max(...commandNames.map((name) => name.length));
  const lines = commandNames.map((name) => `  sinan ${name.padEnd(width)}  ${commands[name].about}\n`);
  return `sinan: train and run language models on any chip

${lines.join("")}
  sinan COMMAND --help   flags and examples
`;
};

const isCommand = (name: string): name is CommandName => commandNames.some((known) => known === name);

async function runCommand([name, ...args]: readonly string[]): Promise<number> {
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    print(help());
    return 0;
  }
  if (name === "--version") {
    print(`${version()}\n`);
    return 0;
  }
  if (!isCommand(name)) {
    const meant = nearest(name, commandNames);
    throw new UsageError(`sinan: there is no command ${JSON.stringify(name)}`, {
      hint: meant === undefined ? `There are ${commandNames.join(", ")}.` : `Did you mean ${meant}?`,
    });
  }
  const command = await commands[name].load();
  const spelled = args.map((arg) => (arg === "-h" ? "--help" : arg));
  const { values, words } = readArguments(name, command.flags, spelled, command.words);
  if (values["help"] === true) {
    print(helpOf(command));
    return 0;
  }
  const { configured } = await import("./configuration.ts");
  const file = typeof values["config"] === "string" ? values["config"] : undefined;
  return command.run({ ...(await configured(name, command.flags, file)), ...values }, words);
}

const version = (): string =>
  (JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string }).version;

/** Errors of the framework are known by their class's name: importing it would cost what `--help` must not. */
function isExpected(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  for (let kind: unknown = error; kind !== null; kind = Object.getPrototypeOf(kind))
    if ((kind as object).constructor.name === "SinanError") return true;
  return error instanceof UsageError;
}

function explain(error: unknown): string {
  if (process.env["SINAN_DEBUG"]) return error instanceof Error ? (error.stack ?? String(error)) : String(error);
  if (isExpected(error)) return `${error.name}: ${error.message}`;
  return `${String(error)}\n  This is not expected: SINAN_DEBUG=1 shows where it comes from.`;
}
