/** Flags that several commands have. */
import { flag, real, text, texts, whole } from "./flags.ts";

/** Of every command. */
export const everywhere = {
  config: text("FILE", "settings (default: sinan.config.ts or .json, where there is one)"),
  help: flag("this text"),
} as const;

export const deviceFlag = text("NAME", "as `sinan devices` lists them (default: SINAN_DEVICE, or cpu)");
export const checkpointFlag = text("DIR", "of a run, of one checkpoint, or a Hugging Face directory");

/** How a token is chosen. */
export const samplingFlags = {
  seed: whole("N", 0, Number.MAX_SAFE_INTEGER, "the same seed makes the same text (default 0)"),
  temperature: real("X", 0, 100, "0 takes the likeliest token each time (default 0.8)"),
  "top-k": whole("N", 0, 1e7, "draw from the N likeliest tokens; 0 is all (default)"),
  "top-p": real("X", 0, 1, "draw from the likeliest whose probabilities reach X (default 1)"),
  "min-p": real("X", 0, 1, "draw from those at least X times as likely as the likeliest (default 0)"),
  "repetition-penalty": real("X", 0.01, 100, "above 1 makes tokens that came already less likely (default 1)"),
  stop: texts("TEXT", "end where it first appears; may be given several times"),
} as const;
