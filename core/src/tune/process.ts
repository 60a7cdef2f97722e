/** `SINAN_TUNING`: every program of a process is compiled by what a file says. */
import { tuned } from "../compiler/tuning.ts";
import { ArgumentError } from "../errors.ts";
import { parseTuning } from "./file.ts";

const host = globalThis as {
  readonly process?: {
    readonly getBuiltinModule?: (
      name: "node:fs",
    ) => { readFileSync(path: string, encoding: "utf8"): string } | undefined;
  };
};

/** From here on programs are compiled by a file, as `sinan tune` writes it.
 *
 *  @throws ArgumentError where it cannot be read; FormatError where it is no such file, or damaged */
export function useTuning(path: string): void {
  const what = `SINAN_TUNING=${path}`;
  const files = host.process?.getBuiltinModule?.("node:fs");
  if (!files) throw new ArgumentError(`${what}: there are no files here`, { hint: "give jit a tuning: readTuning" });
  let text: string;
  try {
    text = files.readFileSync(path, "utf8");
  } catch (cause) {
    throw new ArgumentError(`${what}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      hint: "sinan tune writes such a file",
      cause,
    });
  }
  tuned.by = parseTuning(text, what);
}
