/** A kind of file that the fuzzer damages, and what a program does with such a file. */
import type { Random } from "./random.ts";

export interface Format {
  /** A damaged file. */
  readonly input: (random: Random) => Uint8Array;
  /** Reads the file and uses what it says. A SinanError is an answer, anything else thrown is a failure. */
  readonly read: (bytes: Uint8Array) => unknown;
}

/** Every format by its name. */
export async function formats(): Promise<ReadonlyMap<string, Format>> {
  return new Map([
    ["safetensors", (await import("./safetensors.ts")).format],
    ["tokenizer", (await import("./tokenizer-json.ts")).format],
    ["config", (await import("./config-json.ts")).format],
    ["json-lines", (await import("./json-lines.ts")).format],
    ["manifest", (await import("./manifest.ts")).format],
    ["token-file", (await import("./token-file.ts")).format],
  ]);
}
