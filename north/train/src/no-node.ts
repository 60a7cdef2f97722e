/** `@sinan/train/node` where there is no Node: bundlers for browsers take this file instead, by the condition in package.json. */
import { ArgumentError, type Files } from "sinan";
import type { TextFile } from "./data/text-file.ts";
import type { Report } from "./events.ts";
import type { Interrupt, InterruptOptions } from "./interrupt.ts";

export { sha256 as nativeSha256 } from "sinan";
export { tokenSource as threadSource } from "./data/token-source.ts";

export const interrupted = 130;

/** @throws ArgumentError, always */
export function nodeFiles(): Files {
  throw new ArgumentError("there is no file system here", {
    hint: "give the Trainer `files` of your own; or its data as `{ text }`, and train with `out: null`",
  });
}

/** @throws ArgumentError, always */
export function onInterrupt(_say: (message: string) => void, _options?: InterruptOptions): Interrupt {
  throw new ArgumentError("there are no signals of a process here", { hint: "give `signal`" });
}

/** @throws ArgumentError, always */
export function findTexts(_paths: readonly string[]): Promise<TextFile[]> {
  throw new ArgumentError("there is no file system here", { hint: "give the texts as `blobFile(file)`" });
}

/** @throws ArgumentError, always */
export function cacheDirectory(): Promise<string> {
  throw new ArgumentError("there is no file system here", { hint: "give `cache`, a directory of your `files`" });
}

/** @throws ArgumentError, always */
export const jsonlReport = (_file: string): Report => noFiles();

/** @throws ArgumentError, always */
export const tensorboardReport = (_directory: string): Report => noFiles();

function noFiles(): never {
  throw new ArgumentError("there is no file system here", {
    hint: "give a report of your own: an object with `event` and `close`",
  });
}
