/** Settings in a file: `sinan.config.ts` (or `.js`, `.mjs`, `.json`) beside where the program is started, or what `--config` names. Node
 *  runs the file as it is. Flags of the command line have the last word. */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { commandNames, type CommandName } from "./commands.ts";
import { type Flags, nearest, readSettings, UsageError, type Values } from "./flags.ts";

const names = ["sinan.config.ts", "sinan.config.mjs", "sinan.config.js", "sinan.config.json"];

/** The settings that a configuration has for a command; none where there is no file.
 *  @throws UsageError for a file that is not there or cannot be read, and for what it should not have */
export async function configured<F extends Flags>(
  command: CommandName,
  flags: F,
  asked: string | undefined,
): Promise<Values<F>> {
  const file = asked ?? names.find((name) => existsSync(name));
  if (file === undefined) return {};
  const all = await contentOf(file);
  if (typeof all !== "object" || all === null || Array.isArray(all))
    throw new UsageError(`${file}: expected an object with the settings of commands, got ${JSON.stringify(all)}`, {
      hint: "export default defineConfig({ train: { steps: 300 } });",
    });
  const { help: _, config: __, ...settable } = flags;
  const found: Record<string, unknown> = { ...all };
  for (const name of Object.keys(found)) {
    if (commandNames.some((known) => known === name)) continue;
    const meant = nearest(name, commandNames);
    throw new UsageError(`${file}: there is no command ${JSON.stringify(name)}`, {
      hint: meant === undefined ? `There are ${commandNames.join(", ")}.` : `Did you mean ${meant}?`,
    });
  }
  return found[command] === undefined
    ? {}
    : (readSettings(`${file}: ${command}`, settable, found[command]) as Values<F>);
}

async function contentOf(file: string): Promise<unknown> {
  if (!existsSync(file)) throw new UsageError(`--config: there is no file ${file}`);
  try {
    if (file.endsWith(".json")) return JSON.parse(readFileSync(file, "utf8"));
    const module = (await import(pathToFileURL(path.resolve(process.cwd(), file)).href)) as { default?: unknown };
    return module.default;
  } catch (cause) {
    throw new UsageError(`${file}: cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}
