/** `@sinan/train/node` where there is no Node: bundlers for browsers take this file instead, by the condition in package.json. */
import { ArgumentError, type Files } from "sinan";
import type { Interrupt } from "./interrupt.ts";

export const interrupted = 130;

/** @throws ArgumentError, always */
export function nodeFiles(): Files {
  throw new ArgumentError("there is no file system here", {
    hint: "give the Trainer `files` of your own; or its data as `{ text }`, and train with `out: null`",
  });
}

/** @throws ArgumentError, always */
export function onInterrupt(_onFirst: () => void): Interrupt {
  throw new ArgumentError("there are no signals of a process here", { hint: "give `signal`" });
}
